//! What SASL's messages mean: who a client is that logs in by name.

use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::SCRAM_SHA256;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::prelude::{
    Mechanism, Mechname, Registry, SASLConfig, SASLServer, Session, SessionError, State, Validation,
};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, ValidationError};

use crate::spice::users::Names;

/// The mechanisms, the best first. PLAIN sends the password itself: inside TLS alone.
static MECHANISMS: &[Mechanism] = &[SCRAM_SHA256, PLAIN];

/// The names of the mechanisms.
pub const OFFERED: &str = "SCRAM-SHA-256,PLAIN";

/// One client that logs in by name.
pub struct Exchange {
    session: Session<Name>,
    is_scram: bool,
    /// How many messages the client has sent.
    messages: u32,
}

/// What became of a message.
pub enum Step {
    /// The client has to answer this.
    Continue(Vec<u8>),
    /// It is this user. The last data are for the client.
    Entered(String, Option<Vec<u8>>),
    /// It is nobody. The last data are for the client.
    Refused(Option<Vec<u8>>),
}

/// The name of who has logged in.
struct Name;

impl Validation for Name {
    type Value = String;
}

/// What the mechanisms ask about users.
struct Directory(Arc<dyn Names>);

impl Exchange {
    /// Starts one of [`OFFERED`]; `None` if it is none of them.
    #[must_use]
    pub fn start(names: Arc<dyn Names>, mechanism: &str) -> Option<Self> {
        let builder = SASLConfig::builder().with_registry(Registry::with_mechanisms(MECHANISMS));
        let config = builder.with_callback(Directory(names)).ok()?;
        let name = Mechname::parse(mechanism.as_bytes()).ok()?;
        let session = SASLServer::<Name>::new(config).start_suggested(name).ok()?;
        Some(Self { session, is_scram: name == SCRAM_SHA256.mechanism, messages: 0 })
    }

    /// Takes a client's message. Takes some milliseconds, of PLAIN: not for a thread that serves.
    pub fn step(&mut self, data: Option<&[u8]>) -> Step {
        let is_first = self.messages == 0;
        self.messages = self.messages.saturating_add(1);
        if self.is_scram && !data.is_some_and(|data| has_attributes(data, is_first)) {
            return Step::Refused(None);
        }
        let mut out = Vec::new();
        let state = self.session.step(data, &mut out);
        let last = |state: State| state.has_sent_message().then_some(out.clone());
        match state {
            Ok(State::Running) => Step::Continue(out),
            Ok(state) => match self.session.validation() {
                Some(name) => Step::Entered(name, last(state)),
                None => Step::Refused(last(state)),
            },
            Err(_) => Step::Refused(None),
        }
    }
}

/// Returns whether the parts of a SCRAM message are attributes, of two bytes at least, after the two parts that the
/// first one begins with. rsasl 2.3.1 panics at shorter ones (`scram/parser.rs`).
fn has_attributes(data: &[u8], is_first: bool) -> bool {
    let begins_with = if is_first { 2 } else { 0 };
    let is_attribute = |(at, part): (usize, &[u8])| {
        at == 0 && is_first || part.len() >= 2 || part.is_empty() && at < begins_with
    };
    data.split(|byte| *byte == b',').enumerate().all(is_attribute)
}

impl SessionCallback for Directory {
    fn callback(
        &self,
        _: &SessionData,
        context: &Context,
        request: &mut Request,
    ) -> Result<(), SessionError> {
        if let Some(name) = context.get_ref::<AuthId>() {
            let known = self.0.verifier(name);
            let (stored, server) = (&known.stored_key, &known.server_key);
            let stored = ScramStoredPassword::new(known.iterations, &known.salt, stored, server);
            request.satisfy::<ScramStoredPassword>(&stored)?;
        }
        Ok(())
    }

    /// Called when SCRAM's proof was right, and with the password of PLAIN.
    fn validate(
        &self,
        data: &SessionData,
        context: &Context,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let name = context.get_ref::<AuthId>().ok_or(ValidationError::MissingRequiredProperty)?;
        // Nobody acts for somebody else.
        let is_own =
            context.get_ref::<AuthzId>().is_none_or(|acts_for| acts_for.is_empty() || acts_for == name);
        let is_proven = match context.get_ref::<Password>() {
            Some(password) => self.0.verifier(name).fits(password),
            None => data.mechanism().mechanism == SCRAM_SHA256.mechanism,
        };
        if is_own && is_proven && self.0.has(name) {
            validate.finalize::<Name>(name.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rsasl::prelude::SASLClient;

    use super::*;
    use crate::spice::grant::Rights;
    use crate::spice::users::{self, Users};

    fn directory() -> Arc<Users> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        users::set(&path, "ann", Rights::Use, "apple").unwrap();
        Arc::new(Users::load(&path).unwrap())
    }

    /// Runs rsasl's client against ours; returns who it is for us, and whether it was content with us.
    fn log_in(mechanism: &str, acts_for: Option<&str>, name: &str, password: &str) -> (Option<String>, bool) {
        let acts_for = acts_for.map(str::to_owned);
        let config = SASLConfig::with_credentials(acts_for, name.to_owned(), password.to_owned()).unwrap();
        let mechname = Mechname::parse(mechanism.as_bytes()).unwrap();
        let mut client = SASLClient::new(config).start_suggested(&[mechname]).unwrap();
        let mut server = Exchange::start(directory(), mechanism).unwrap();
        let mut said = Vec::new();
        client.step(None, &mut said).unwrap();
        loop {
            let mut answer = |data: &[u8]| {
                let mut out = Vec::new();
                client.step(Some(data), &mut out).map(|_| out)
            };
            match server.step(Some(&said)) {
                Step::Continue(data) => said = answer(&data).unwrap(),
                Step::Entered(name, data) => {
                    return (Some(name), data.is_none_or(|data| answer(&data).is_ok()));
                }
                Step::Refused(data) => return (None, data.is_none_or(|data| answer(&data).is_ok())),
            }
        }
    }

    #[test]
    fn a_user_is_who_knows_the_password() {
        for mechanism in OFFERED.split(',') {
            let ann = Some("ann".to_owned());
            assert_eq!(log_in(mechanism, None, "ann", "apple"), (ann.clone(), true), "{mechanism}");
            assert_eq!(log_in(mechanism, Some("ann"), "ann", "apple").0, ann, "{mechanism}");
            for (acts_for, name, password) in
                [(None, "ann", "banana"), (None, "eve", "apple"), (Some("eve"), "ann", "apple")]
            {
                assert_eq!(
                    log_in(mechanism, acts_for, name, password).0,
                    None,
                    "{mechanism} {name} {password}"
                );
            }
        }
    }

    #[test]
    fn parts_of_scram_that_are_no_attributes_are_refused() {
        for first in
            ["y,,n=eve,", "n,,n=eve,r", "n,,", "n,,n", "n,a,n=eve,r=x", "n", "", ",,,", "n,,n=eve,r=x,"]
        {
            let mut exchange = Exchange::start(directory(), "SCRAM-SHA-256").unwrap();
            assert!(matches!(exchange.step(Some(first.as_bytes())), Step::Refused(None)), "{first}");
        }
        for last in ["", "c", "c=biws,", "c=biws,r", "c=biws,r=x,p", "c=biws,r=x,", ","] {
            let mut exchange = Exchange::start(directory(), "SCRAM-SHA-256").unwrap();
            assert!(matches!(exchange.step(Some(b"n,,n=ann,r=x")), Step::Continue(_)));
            assert!(matches!(exchange.step(Some(last.as_bytes())), Step::Refused(None)), "{last}");
        }
    }

    #[test]
    fn senseless_messages_let_nobody_in() {
        assert!(Exchange::start(directory(), "EXTERNAL").is_none());
        for mechanism in OFFERED.split(',') {
            for data in [None, Some(&b""[..]), Some(b"\0\0\0\0"), Some(b"n,,n=ann,r="), Some(&[0xff; 4000])] {
                let mut exchange = Exchange::start(directory(), mechanism).unwrap();
                assert!(!matches!(exchange.step(data), Step::Entered(..)), "{mechanism} {data:?}");
            }
            let mut exchange = Exchange::start(directory(), mechanism).unwrap();
            if matches!(exchange.step(Some(b"n,,n=ann,r=abcdefgh")), Step::Continue(_)) {
                assert!(matches!(exchange.step(Some(b"c=biws,r=abcdefgh,p=AAAA")), Step::Refused(_)));
            }
        }
    }
}
