//! What every D-Bus object can be asked, answered for the one object that is on a connection.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::Connection;
use zbus::message::{Body, Flags, Message};
use zbus::zvariant::Value;

use crate::display1::{
    AUDIO_IN, AUDIO_IN_PATH, AUDIO_OUT, AUDIO_OUT_PATH, AUDIO_XML, Bytes, CLIPBOARD, CLIPBOARD_PATH,
    CLIPBOARD_XML, DMABUF2, LISTENER, LISTENER_PATH, LISTENER_XML, MAP, Refusal,
};

/// The one object on a connection on which QEMU calls us.
pub(super) struct Object {
    path: &'static str,
    interface: &'static str,
    /// The interfaces that QEMU may use besides. It asks once, when it has connected.
    optional: &'static [&'static str],
    xml: &'static str,
}

/// What a console is shown to.
pub(super) const SCREEN: Object =
    Object { path: LISTENER_PATH, interface: LISTENER, optional: &[MAP, DMABUF2], xml: LISTENER_XML };

/// What the guest's sound is played to.
pub(super) const AUDIO_LISTENER: Object =
    Object { path: AUDIO_OUT_PATH, interface: AUDIO_OUT, optional: &[], xml: AUDIO_XML };

/// What the guest records from.
pub(super) const AUDIO_SPEAKER: Object =
    Object { path: AUDIO_IN_PATH, interface: AUDIO_IN, optional: &[], xml: AUDIO_XML };

/// What shares clipboards with QEMU's.
pub(super) const CLIPBOARD_PEER: Object =
    Object { path: CLIPBOARD_PATH, interface: CLIPBOARD, optional: &[], xml: CLIPBOARD_XML };

/// The body of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// None.
    Nothing,
    /// A string.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// What is in a clipboard, and its MIME type.
    Clipboard(&'static str, Arc<[u8]>),
    /// One property.
    Property(Value<'static>),
    /// All properties of an interface.
    Properties(HashMap<&'static str, Value<'static>>),
}

impl Object {
    /// Answers a call of a standard interface; `None` if it is of another one.
    pub(super) fn answer(
        &self,
        path: Option<&str>,
        interface: Option<&str>,
        member: &str,
        body: &Body,
    ) -> Option<Result<Answer, Refusal>> {
        Some(match (interface, member) {
            // For the connection as a whole, so at any path.
            (Some("org.freedesktop.DBus.Peer"), "Ping") => Ok(Answer::Nothing),
            (Some("org.freedesktop.DBus.Peer"), _) => Err(Refusal::Method),
            _ if path != Some(self.path) => Err(Refusal::Object),
            (Some("org.freedesktop.DBus.Introspectable"), "Introspect") => {
                Ok(Answer::Text(self.xml.to_owned()))
            }
            (Some("org.freedesktop.DBus.Introspectable"), _) => Err(Refusal::Method),
            (Some("org.freedesktop.DBus.Properties"), _) => self.property(member, body),
            _ => return None,
        })
    }

    fn property(&self, member: &str, body: &Body) -> Result<Answer, Refusal> {
        let interfaces = || Value::from(self.optional.to_vec());
        match member {
            "Get" => {
                let types = |error: zbus::Error| Refusal::Types {
                    method: "Get",
                    wanted: "ss".to_owned(),
                    error: error.to_string(),
                };
                match body.deserialize().map_err(types)? {
                    (name, "Interfaces") if name == self.interface => Ok(Answer::Property(interfaces())),
                    (name, _) if self.has(name) => Err(Refusal::Property),
                    _ => Err(Refusal::Interface),
                }
            }
            "GetAll" => {
                let types = |error: zbus::Error| Refusal::Types {
                    method: "GetAll",
                    wanted: "s".to_owned(),
                    error: error.to_string(),
                };
                match body.deserialize::<&str>().map_err(types)? {
                    name if name == self.interface => {
                        Ok(Answer::Properties(HashMap::from([("Interfaces", interfaces())])))
                    }
                    name if self.has(name) => Ok(Answer::Properties(HashMap::new())),
                    _ => Err(Refusal::Interface),
                }
            }
            "Set" => Err(Refusal::ReadOnly),
            _ => Err(Refusal::Method),
        }
    }

    fn has(&self, interface: &str) -> bool {
        interface == self.interface || self.optional.contains(&interface)
    }
}

/// Sends `answer` to `call`, if QEMU wants one.
pub(super) async fn reply(
    connection: &Connection,
    call: &Message,
    answer: Result<Answer, Refusal>,
) -> zbus::Result<()> {
    if !wants_reply(call) {
        return Ok(());
    }
    let header = call.header();
    match answer {
        Ok(Answer::Nothing) => connection.reply(&header, &()).await,
        Ok(Answer::Text(text)) => connection.reply(&header, &text).await,
        Ok(Answer::Bytes(bytes)) => connection.reply(&header, &Bytes(&bytes)).await,
        Ok(Answer::Clipboard(mime, data)) => connection.reply(&header, &(mime, Bytes(&data))).await,
        Ok(Answer::Property(value)) => connection.reply(&header, &value).await,
        Ok(Answer::Properties(values)) => connection.reply(&header, &values).await,
        Err(refusal) => connection.reply_error(&header, refusal.name(), &refusal.to_string()).await,
    }
}

/// Returns whether QEMU wants an answer to `call`.
pub(super) fn wants_reply(call: &Message) -> bool {
    !call.primary_header().flags().contains(Flags::NoReplyExpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(interface: &str, member: &str, args: &[&str]) -> Option<Result<Answer, String>> {
        let call = Message::method_call(LISTENER_PATH, member).unwrap();
        let message = match args {
            [] => call.build(&()),
            [one] => call.build(one),
            [one, two] => call.build(&(one, two)),
            _ => panic!(),
        };
        let body = message.unwrap().body();
        SCREEN
            .answer(Some(LISTENER_PATH), Some(interface), member, &body)
            .map(|answer| answer.map_err(|r| r.name().to_owned()))
    }

    #[test]
    fn qemu_learns_of_both_optional_interfaces() {
        let properties = "org.freedesktop.DBus.Properties";
        let both = Value::from(vec![MAP, DMABUF2]);
        let all = HashMap::from([("Interfaces", both.try_clone().unwrap())]);
        assert_eq!(asked(properties, "GetAll", &[LISTENER]), Some(Ok(Answer::Properties(all))));
        assert_eq!(asked(properties, "GetAll", &[MAP]), Some(Ok(Answer::Properties(HashMap::new()))));
        assert_eq!(asked(properties, "Get", &[LISTENER, "Interfaces"]), Some(Ok(Answer::Property(both))));
    }

    #[test]
    fn what_there_is_not_is_an_error_of_its_own_name() {
        let properties = "org.freedesktop.DBus.Properties";
        let error = |name: &str| Some(Err(format!("org.freedesktop.DBus.Error.{name}")));
        assert_eq!(asked(properties, "Get", &[LISTENER, "Colour"]), error("UnknownProperty"));
        assert_eq!(asked(properties, "GetAll", &["org.example"]), error("UnknownInterface"));
        assert_eq!(asked(properties, "GetAll", &[]), error("InvalidArgs"));
        assert_eq!(asked(properties, "Fly", &[]), error("UnknownMethod"));
        assert_eq!(asked(LISTENER, "Scanout", &[]), None);
    }
}
