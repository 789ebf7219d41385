//! Keeps from zbus what it panics at (5.19, its issue 1497): invalid names and paths, and file descriptors before the
//! first message.

use std::os::fd::OwnedFd;
use std::{fmt, io};

use futures_util::future::BoxFuture;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use zbus::connection::socket::ReadHalf;
use zbus::message::Message;
use zbus::names::{BusName, ErrorName, InterfaceName, MemberName, UniqueName};
use zbus::zvariant::{ObjectPath, Signature, Type, Value};

/// Where a message's header fields begin, in bytes.
const FIELDS_AT: usize = 12;

/// Reads messages whose headers can be taken apart. Any other ends the connection.
#[derive(Debug)]
pub(crate) struct Checked<R>(pub(crate) R);

impl<R: ReadHalf> ReadHalf for Checked<R> {
    fn receive_message<'a, 'b, 'c, 'f>(
        &'a mut self,
        number: u64,
        early_bytes: &'b mut Vec<u8>,
        early_files: &'c mut Vec<OwnedFd>,
    ) -> BoxFuture<'f, zbus::Result<Message>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            if !early_files.is_empty() {
                return Err(invalid("files came before the first message"));
            }
            let message = self.0.receive_message(number, early_bytes, early_files).await?;
            if has_valid_names(&message) { Ok(message) } else { Err(invalid("a name in a message is none")) }
        })
    }

    fn recvmsg<'a, 'b, 'f>(
        &'a mut self,
        buffer: &'b mut [u8],
    ) -> BoxFuture<'f, io::Result<(usize, Vec<OwnedFd>)>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.0.recvmsg(buffer)
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.0.can_pass_unix_fd()
    }
}

fn invalid(what: &'static str) -> zbus::Error {
    io::Error::new(io::ErrorKind::InvalidData, what).into()
}

/// Returns whether each name in a message's header is valid.
fn has_valid_names(message: &Message) -> bool {
    let fields = message.data().slice(FIELDS_AT..);
    fields.deserialize::<ValidFields>().is_ok()
}

/// Header fields whose names are valid. They are read one by one, because a list would be allocated for each message.
struct ValidFields;

impl Type for ValidFields {
    const SIGNATURE: &'static Signature = <Vec<(u8, Value<'_>)>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for ValidFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = ValidFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("header fields with valid names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<ValidFields, A::Error> {
        while let Some((number, value)) = fields.next_element()? {
            if !is_valid(number, &value) {
                return Err(A::Error::custom("a name is invalid"));
            }
        }
        Ok(ValidFields)
    }
}

/// Returns whether a header field has the type and form that the D-Bus specification demands, if it is a name.
fn is_valid(number: u8, value: &Value<'_>) -> bool {
    match (number, value) {
        (1, Value::ObjectPath(path)) => ObjectPath::try_from(path.as_str()).is_ok(),
        (2, Value::Str(name)) => InterfaceName::try_from(name.as_str()).is_ok(),
        (3, Value::Str(name)) => MemberName::try_from(name.as_str()).is_ok(),
        (4, Value::Str(name)) => ErrorName::try_from(name.as_str()).is_ok(),
        (6, Value::Str(name)) => BusName::try_from(name.as_str()).is_ok(),
        (7, Value::Str(name)) => UniqueName::try_from(name.as_str()).is_ok(),
        (1..=4 | 6 | 7, _) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use zbus::connection::socket::Socket;
    use zbus::zvariant::Fd;

    use super::super::DisplaySocket;
    use super::*;

    fn call(body: &(impl serde::Serialize + Type)) -> Vec<u8> {
        let call = Message::method_call("/org/qemu", "Disable").unwrap();
        let call = call.interface("org.qemu.Display1").unwrap().sender(":1.7").unwrap();
        call.build(body).unwrap().data().to_vec()
    }

    /// Reads a message from a socket, with files that came before it.
    async fn received(bytes: &[u8], early_files: &mut Vec<OwnedFd>) -> zbus::Result<Message> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let (mut read, _write) = DisplaySocket::new(ours).unwrap().split().take();
        read.receive_message(0, &mut Vec::new(), early_files).await
    }

    #[tokio::test]
    async fn a_name_that_is_none_ends_the_connection_and_not_the_program() {
        let message = received(&call(&()), &mut Vec::new()).await.unwrap();
        assert_eq!(message.header().member().unwrap().as_str(), "Disable");
        let broken =
            [("/org", "/|rg"), ("org.qemu.D", "org|qemu.D"), ("Disable", "Dis|ble"), (":1.7", "|1.7")];
        for (name, broken) in broken {
            let mut bytes = call(&());
            let at = memchr::memmem::find(&bytes, name.as_bytes()).unwrap();
            bytes[at..at + broken.len()].copy_from_slice(broken.as_bytes());
            assert!(received(&bytes, &mut Vec::new()).await.is_err(), "{broken}");
        }
    }

    #[tokio::test]
    async fn files_before_the_first_message_end_the_connection_and_not_the_program() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let wants_two = call(&(Fd::from(&file), Fd::from(&file)));
        assert!(received(&wants_two, &mut vec![file.into()]).await.is_err());
    }
}
