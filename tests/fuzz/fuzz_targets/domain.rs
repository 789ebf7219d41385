//! A domain's XML, as libvirt gives it to the hook that runs as root: nothing of it is more than a value in the
//! configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Display, Domain, configuration, without_own_bus};

fuzz_target!(|xml: &str| {
    if let Ok(domain) = Domain::parse(xml) {
        let text = configuration(&domain.name, &domain.uuid, &domain.settings, &[]).expect("text");
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text:?}");
        assert!(text.lines().count() <= 3 + domain.settings.len(), "{text:?}");
    }
    if let Ok(Some(restored)) = without_own_bus(xml) {
        assert!(restored.len() < xml.len());
        if Domain::parse(xml).is_ok_and(|domain| matches!(domain.display, Display::OwnBus(_))) {
            let display = Domain::parse(&restored).expect("what was read before").display;
            assert_eq!(display, Display::OwnBus(None));
        }
    }
});
