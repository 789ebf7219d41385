//! Holds the messages of the page in `web` against the server's own: both read and write the bytes in
//! `web/tests/messages.json`. This side writes that file (`UPDATE_MESSAGES=1 cargo test --test web_messages`) and fails
//! if it is not what the server would write today; the other side is `node --test web/tests`.
#![cfg(test)]

use serde_json::{Value, json};
use spice_proto::auth::PUB_KEY_LEN;
use spice_proto::channels::base::{self, Disconnecting, Notify, Ping, Severity};
use spice_proto::channels::cursor::{self, Position, Shape, State};
use spice_proto::channels::display::{
    self, BitmapFormat, CopyBits, DrawCopy, Head, Image, ImageData, MonitorsConfig, StreamCreate, StreamData,
    StreamReport, SurfaceCreate, SurfaceFormat, VideoCodec,
};
use spice_proto::channels::inputs::{self, LockKeys};
use spice_proto::channels::main::{self, MouseMode, MouseModes};
use spice_proto::channels::playback;
use spice_proto::channels::record;
use spice_proto::channels::sound::{Mode, SampleFormat};
use spice_proto::link::{LINK_HEADER_LEN, LinkError, LinkMess, LinkReply};
use spice_proto::wire::{Cap, Caps, ChannelId, ChannelType, Message, Payload, Point, Rect};

const FILE: &str = "web/tests/messages.json";

const PIXELS: [u8; 16] = [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 10, 11, 12, 0];

#[test]
fn the_page_reads_and_writes_the_bytes_of_the_server() {
    let from_server: Vec<Value> =
        [base_messages(), main_messages(), display_messages(), other_messages(), link_replies()].concat();
    let to_server: Vec<Value> = [base_answers(), requests(), link_messages()].concat();
    let all = json!({ "fromServer": from_server, "toServer": to_server });
    let text = serde_json::to_string_pretty(&all).unwrap() + "\n";
    if std::env::var_os("UPDATE_MESSAGES").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == text,
        "{FILE} is not what the server writes: run this with UPDATE_MESSAGES=1, and look at it"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message of the server's, and what the page is to read in it.
fn from_server(channel: &str, message: &Message, name: &str, fields: Value) -> Value {
    json!({ "channel": channel, "id": message.id(), "hex": hex(&message.body()), "name": name, "fields": fields })
}

/// What the page is to write when it calls `function` of `channel`, and the server reads as `message`.
fn to_server(channel: &str, function: &str, arguments: Value, message: &Message) -> Value {
    json!({
        "channel": channel, "function": function, "arguments": arguments, "id": message.id(),
        "hex": hex(&message.body()),
    })
}

fn base_messages() -> Vec<Value> {
    use base::FromServer;
    let notice = Notify { timestamp: 9, severity: Severity::Warn, text: "späť".to_owned() };
    [
        (
            FromServer::SetAck { generation: 1, window: 20 },
            "setAck",
            json!({ "generation": 1, "window": 20 }),
        ),
        (
            FromServer::Ping(Ping { id: 3, timestamp: u64::MAX }),
            "ping",
            json!({ "id": 3, "timestamp": u64::MAX.to_string() }),
        ),
        (
            FromServer::Disconnecting(Disconnecting { timestamp: 5, reason: 0 }),
            "disconnecting",
            json!({ "timestamp": "5", "reason": 0 }),
        ),
        (FromServer::Notify(notice), "notify", json!({ "timestamp": "9", "severity": 1, "text": "späť" })),
    ]
    .map(|(message, name, fields)| from_server("base", &message.encode(), name, fields))
    .to_vec()
}

fn main_messages() -> Vec<Value> {
    use main::FromServer;
    let mouse = MouseModes { server: true, client: true, current: MouseMode::Client };
    let read = json!({ "server": true, "client": true, "current": 2 });
    let init = main::Init {
        session_id: 0xfedc_ba98,
        display_channels_hint: 2,
        mouse,
        agent_connected: true,
        agent_tokens: 10,
        multi_media_time: 5000,
        ram_hint: 0,
    };
    let channels =
        vec![ChannelId { kind: ChannelType::Display, id: 1 }, ChannelId { kind: ChannelType::Inputs, id: 0 }];
    [
        (
            FromServer::Init(init),
            "init",
            json!({
                "session": 0xfedc_ba98_u32, "displays": 2, "mouse": read, "agent": true, "tokens": 10, "time": 5000,
                "memory": 0,
            }),
        ),
        (
            FromServer::ChannelsList(channels),
            "channels",
            json!({ "channels": [{ "kind": 2, "id": 1 }, { "kind": 3, "id": 0 }] }),
        ),
        (
            FromServer::MouseMode(MouseModes { client: false, current: MouseMode::Server, ..mouse }),
            "mouseMode",
            json!({ "mouse": { "server": true, "client": false, "current": 1 } }),
        ),
        (FromServer::MultiMediaTime(u32::MAX), "time", json!({ "time": u32::MAX })),
        (FromServer::AgentConnected, "agentConnected", json!({})),
        (FromServer::AgentDisconnected(1), "agentDisconnected", json!({ "error": 1 })),
        (FromServer::AgentData(vec![7, 8]), "agentData", json!({ "data": "0708" })),
        (FromServer::AgentToken(3), "agentTokens", json!({ "tokens": 3 })),
        (FromServer::Name("vm".to_owned()), "guestName", json!({ "text": "vm" })),
        (FromServer::Uuid([9; 16]), "uuid", json!({ "uuid": "09".repeat(16) })),
        (FromServer::AgentConnectedTokens(10), "agentConnectedTokens", json!({ "tokens": 10 })),
    ]
    .map(|(message, name, fields)| from_server("main", &message.encode(), name, fields))
    .to_vec()
}

fn display_messages() -> Vec<Value> {
    [drawings(), surfaces(), streams()]
        .concat()
        .into_iter()
        .map(|(message, name, fields)| from_server("display", &message.encode(), name, fields))
        .collect()
}

type DisplayMessages = Vec<(display::FromServer, &'static str, Value)>;

fn drawings() -> DisplayMessages {
    use display::FromServer;
    let dest = Rect::at(3, 4, 2, 2);
    let place = json!({ "x": 3, "y": 4, "width": 2, "height": 2 });
    let copy = |data| {
        let image = Image { id: 0, width: 2, height: 2, data };
        FromServer::DrawCopy(DrawCopy { surface_id: 0, dest, src: Rect::at(0, 0, 2, 2), image })
    };
    let pixels = Payload::from(PIXELS.to_vec());
    let block = lz4_flex::block::compress(&PIXELS);
    let packed = hex(&block);
    let lz4 = ImageData::Lz4 { format: BitmapFormat::Xrgb, block: Payload::from(block) };
    let moved = CopyBits { surface_id: 0, dest, src: Point { x: 7, y: 9 } };
    vec![
        (
            FromServer::CopyBits(moved),
            "copyBits",
            json!({ "surface": 0, "dest": place, "clip": 0, "x": 7, "y": 9 }),
        ),
        (
            copy(ImageData::Bitmap { format: BitmapFormat::Xrgb, stride: 8, pixels }),
            "drawCopy",
            json!({
                "surface": 0, "dest": place,
                "image": { "width": 2, "height": 2, "stride": 8, "pixels": hex(&PIXELS) },
            }),
        ),
        (
            copy(lz4),
            "drawCopy",
            json!({ "surface": 0, "dest": place, "image": { "width": 2, "height": 2, "lz4": packed } }),
        ),
    ]
}

fn surfaces() -> DisplayMessages {
    use display::FromServer;
    let surface = SurfaceCreate {
        surface_id: 0,
        width: 1366,
        height: 768,
        format: SurfaceFormat::Xrgb,
        primary: true,
        streaming: false,
    };
    let head = Head { monitor_id: 0, surface_id: 0, width: 1365, height: 767, x: 0, y: 0 };
    vec![
        (FromServer::Mark, "mark", json!({})),
        (FromServer::Reset, "reset", json!({})),
        (FromServer::InvalAllPalettes, "invalidatePalettes", json!({})),
        (
            FromServer::SurfaceCreate(surface),
            "surfaceCreate",
            json!({ "surface": 0, "width": 1366, "height": 768, "primary": true }),
        ),
        (FromServer::SurfaceDestroy { surface_id: 0 }, "surfaceDestroy", json!({ "surface": 0 })),
        (
            FromServer::MonitorsConfig(MonitorsConfig { max_allowed: 1, heads: vec![head] }),
            "monitors",
            json!({
                "heads": [{ "monitor": 0, "surface": 0, "width": 1365, "height": 767, "x": 0, "y": 0 }],
            }),
        ),
    ]
}

fn streams() -> DisplayMessages {
    use display::FromServer;
    let create = StreamCreate {
        surface_id: 0,
        stream_id: 31,
        codec: VideoCodec::H264,
        width: 640,
        height: 480,
        dest: Rect::at(0, 0, 1280, 960),
    };
    let data = StreamData { stream_id: 31, multi_media_time: 77, data: Payload::from(vec![0, 0, 1, 0x65]) };
    vec![
        (
            FromServer::StreamCreate(create),
            "streamCreate",
            json!({
                "surface": 0, "stream": 31, "codec": "h264", "width": 640, "height": 480,
                "dest": { "x": 0, "y": 0, "width": 1280, "height": 960 },
            }),
        ),
        (FromServer::StreamData(data), "streamData", json!({ "stream": 31, "time": 77, "data": "00000165" })),
        (FromServer::StreamDestroy { stream_id: 31 }, "streamDestroy", json!({ "stream": 31 })),
    ]
}

fn other_messages() -> Vec<Value> {
    let locks = LockKeys { num: true, ..LockKeys::default() };
    let read = json!({ "scroll": false, "num": true, "caps": false });
    let shape = Shape::new(2, 2, 1, 0, PIXELS.to_vec().into());
    let drawn = json!({ "width": 2, "height": 2, "hotX": 1, "hotY": 0, "pixels": hex(&PIXELS) });
    let position = Position { x: -3, y: 7 };
    let state = |shape| State { position, visible: true, shape };
    let set = json!({ "x": -3, "y": 7, "visible": true, "shape": drawn });
    let hidden = json!({ "x": -3, "y": 7, "visible": true, "shape": null });
    let start = playback::Start { channels: 2, format: SampleFormat::S16, frequency: 48_000, time: 9 };
    let record_start = record::Start { channels: 2, format: SampleFormat::S16, frequency: 48_000 };
    let sound = playback::Data { time: 9, data: Payload::from(vec![1, 2, 3]) };
    [
        ("inputs", inputs::FromServer::Init(locks).encode(), "init", read.clone()),
        ("inputs", inputs::FromServer::KeyModifiers(locks).encode(), "locks", read),
        ("inputs", inputs::FromServer::MouseMotionAck.encode(), "motionAck", json!({})),
        ("cursor", cursor::FromServer::Init(state(shape.clone())).encode(), "init", set.clone()),
        ("cursor", cursor::FromServer::Set(state(shape)).encode(), "set", set),
        ("cursor", cursor::FromServer::Set(state(None)).encode(), "set", hidden),
        ("cursor", cursor::FromServer::Move(position).encode(), "move", json!({ "x": -3, "y": 7 })),
        ("cursor", cursor::FromServer::Hide.encode(), "hide", json!({})),
        (
            "playback",
            playback::FromServer::Data(sound).encode(),
            "data",
            json!({ "time": 9, "data": "010203" }),
        ),
        (
            "playback",
            playback::FromServer::Mode { time: 9, mode: Mode::Opus }.encode(),
            "mode",
            json!({ "time": 9, "mode": 3 }),
        ),
        (
            "playback",
            playback::FromServer::Start(start).encode(),
            "start",
            json!({ "channels": 2, "format": 1, "frequency": 48_000, "time": 9 }),
        ),
        ("playback", playback::FromServer::Stop.encode(), "stop", json!({})),
        (
            "playback",
            playback::FromServer::Volume(vec![65_535, 1]).encode(),
            "volume",
            json!({ "volumes": [65_535, 1] }),
        ),
        ("playback", playback::FromServer::Mute(true).encode(), "mute", json!({ "mute": true })),
        ("playback", playback::FromServer::Latency(40).encode(), "latency", json!({ "milliseconds": 40 })),
        (
            "record",
            record::FromServer::Start(record_start).encode(),
            "start",
            json!({ "channels": 2, "format": 1, "frequency": 48_000 }),
        ),
        ("record", record::FromServer::Stop.encode(), "stop", json!({})),
    ]
    .map(|(channel, message, name, fields)| from_server(channel, &message, name, fields))
    .to_vec()
}

/// Replies of the link stage, which are no messages of a channel: the bytes after the header.
fn link_replies() -> Vec<Value> {
    let pub_key: [u8; PUB_KEY_LEN] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let reply = LinkReply {
        error: LinkError::Ok,
        pub_key,
        common_caps: Caps::from(0b1011),
        channel_caps: Caps::from(0xf),
    };
    let bytes = reply.encode();
    let (header, body) = bytes.split_at(LINK_HEADER_LEN);
    vec![json!({
        "channel": "link", "id": 0, "name": "reply", "header": hex(header), "hex": hex(body),
        "fields": { "key": hex(&pub_key), "channelCaps": 0xf },
    })]
}

fn base_answers() -> Vec<Value> {
    use base::FromClient;
    [
        ("ackSync", json!([1]), FromClient::AckSync { generation: 1 }),
        ("ack", json!([]), FromClient::Ack),
        ("pong", json!([3, 77]), FromClient::Pong(Ping { id: 3, timestamp: 77 })),
    ]
    .map(|(function, arguments, message)| to_server("base", function, arguments, &message.encode()))
    .to_vec()
}

fn requests() -> Vec<Value> {
    let unsupported = StreamReport {
        stream_id: 7,
        unique_id: 0,
        start_frame_mm_time: 0,
        end_frame_mm_time: 0,
        num_frames: 0,
        num_drops: u32::MAX,
        last_frame_delay: 0,
        audio_delay: u32::MAX,
    };
    let init = display::Init {
        pixmap_cache_id: 1,
        pixmap_cache_size: 0,
        glz_dictionary_id: 1,
        glz_dictionary_window: 0,
    };
    let locks = LockKeys { scroll: true, num: false, caps: true };
    let asked = json!([{ "scroll": true, "num": false, "caps": true }]);
    let said = record::Data { time: 9, data: vec![7, 8] };
    use inputs::FromClient as Input;
    [
        ("main", "attachChannels", json!([]), main::FromClient::AttachChannels.encode()),
        ("main", "mouseMode", json!([2]), main::FromClient::MouseModeRequest(MouseMode::Client).encode()),
        ("main", "agentStart", json!([u32::MAX]), main::FromClient::AgentStart(u32::MAX).encode()),
        ("main", "agentData", json!([[7, 8]]), main::FromClient::AgentData(vec![7, 8]).encode()),
        ("display", "init", json!([]), display::FromClient::Init(init).encode()),
        ("display", "cannotDecode", json!([7]), display::FromClient::StreamReport(unsupported).encode()),
        ("inputs", "scancodes", json!([[0xe0, 0x1c]]), Input::KeyScancode(vec![0xe0, 0x1c]).encode()),
        ("inputs", "locks", asked, Input::KeyModifiers(locks).encode()),
        ("inputs", "motion", json!([5, -3, 1]), Input::MouseMotion { dx: 5, dy: -3, buttons: 1 }.encode()),
        (
            "inputs",
            "position",
            json!([640, 3, 1, 2]),
            Input::MousePosition { x: 640, y: 3, buttons: 1, display_id: 2 }.encode(),
        ),
        ("inputs", "press", json!([3, 4]), Input::MousePress { button: 3, buttons: 4 }.encode()),
        ("inputs", "release", json!([3, 0]), Input::MouseRelease { button: 3, buttons: 0 }.encode()),
        ("record", "data", json!([9, [7, 8]]), record::FromClient::Data(said).encode()),
        (
            "record",
            "mode",
            json!([9, 3]),
            record::FromClient::Mode { time: 9, mode: Mode::Opus, extra: Vec::new() }.encode(),
        ),
    ]
    .map(|(channel, function, arguments, message)| to_server(channel, function, arguments, &message))
    .to_vec()
}

/// The first message of a connection, which is none of a channel: its bytes with its header.
fn link_messages() -> Vec<Value> {
    let caps = [1, 5, 8, 11, 63].map(Cap::bit);
    [(Caps::from(0x922), vec![0x922]), (Caps::of(&caps), vec![0x922_u32, 1 << 31])]
        .map(|(channel_caps, words)| {
            let message = LinkMess {
                connection_id: 0xfedc_ba98,
                channel: ChannelId { kind: ChannelType::Display, id: 1 },
                common_caps: Caps::from(0b1001),
                channel_caps,
            };
            let asked = json!([{ "session": 0xfedc_ba98_u32, "kind": 2, "id": 1, "caps": words }]);
            json!({
                "channel": "link", "function": "linkMessage", "arguments": asked, "hex": hex(&message.encode()),
            })
        })
        .to_vec()
}
