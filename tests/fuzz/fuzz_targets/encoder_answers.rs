//! What an encoder's process answers: refused, or taken and said again in the same bytes.
//!
//! The input: the most bytes of an encoded picture, little end first; then what comes from the process's socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::Answer;

fuzz_target!(|input: (u16, &[u8])| {
    let (most, mut rest) = (usize::from(input.0), input.1);
    while let Ok(answer) = Answer::read(&mut rest, most) {
        if let Answer::Encoded(bytes) = &answer {
            assert!(bytes.len() <= most, "{} bytes of {most}", bytes.len());
        }
        let mut said = Vec::new();
        answer.write(&mut said).unwrap();
        let again = Answer::read(&mut &said[..], most).unwrap();
        assert_eq!(again, answer, "what was heard is said in another way");
    }
});
