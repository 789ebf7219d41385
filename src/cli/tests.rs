use super::*;
use crate::encode::Codec;
use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_examples_parse() {
    let commands = EXAMPLES.lines().map(str::trim).filter(|line| line.starts_with("qemu-spice "));
    let parsed: Vec<_> = commands.map(|line| Cli::try_parse_from(line.split_whitespace()).unwrap()).collect();
    assert_eq!(parsed.len(), 6);
}

#[test]
fn a_bus_is_named_or_has_an_address() {
    let bus = |text: &str| {
        Cli::try_parse_from(["qemu-spice", "--relay-bus", text]).map(|cli| cli.serve.relay_bus).ok()
    };
    assert_eq!(bus("none"), Some(Some(RelayBus::None)));
    assert_eq!(bus("session"), Some(Some(RelayBus::Session)));
    let address = "unix:path=/run/bus".to_owned();
    assert_eq!(bus(&address), Some(Some(RelayBus::Address(address))));
    assert_eq!(bus("system"), None);
    for words in [&["--dbus-address"][..], &["--relay-bus"], &["status", "--dbus-address"]] {
        for wrong in ["", "nonsense", "unix:", "carrier-pigeon:coop=1"] {
            let line = [&["qemu-spice"], words, &[wrong]].concat();
            let error = Cli::try_parse_from(&line).unwrap_err().to_string();
            assert!(error.contains("such as unix:path="), "{line:?}: {error}");
        }
    }
}

#[test]
fn a_device_is_at_a_path_or_an_open_socket() {
    let socket = |text: &str| text.parse::<DeviceSocket>().ok();
    assert_eq!(socket("/run/gpu"), Some(DeviceSocket::Path("/run/gpu".into())));
    assert_eq!((socket("fd:7"), socket("fd:x"), socket("")), (Some(DeviceSocket::Fd(7)), None, None));
}

#[test]
fn each_codec_can_be_asked_for_by_its_name() {
    let codec = |name: &str| {
        Cli::try_parse_from(["qemu-spice", "--video-codec", name]).map(|cli| cli.serve.video_codec).ok()
    };
    assert_eq!(codec("auto"), Some(VideoCodec::Auto));
    assert_eq!(codec("h264"), Some(VideoCodec::Only(Codec::H264)));
    assert_eq!(codec("h264-444"), Some(VideoCodec::Only(Codec::H264_444)));
    assert_eq!(codec("none"), Some(VideoCodec::None));
    assert_eq!(codec("h263"), None);
}

#[test]
fn channels_without_tls_are_named() {
    let plain = |text: &str| text.parse::<Plain>();
    assert_eq!(plain("all"), Ok(Plain::All));
    assert_eq!(plain("none"), Ok(Plain::Only(vec![])));
    assert_eq!(plain("display,cursor"), Ok(Plain::Only(vec![ChannelType::Display, ChannelType::Cursor])));
    assert!(plain("display,sound").unwrap_err().contains("`sound`"));
}

#[test]
fn there_is_one_way_to_the_machine() {
    assert!(Cli::try_parse_from(["qemu-spice", "--qmp", "/q", "--dbus-address", "unix:path=/d"]).is_err());
}
