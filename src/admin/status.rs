//! What `qemu-spice status` prints: asked of every qemu-spice on a bus.
//!
//! Whoever owns a name on the bus may answer anything, and a guest may call its devices anything: what does not fit
//! is left out, and control characters do not reach the terminal.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value as Json};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Message;
use zbus::names::{OwnedUniqueName, WellKnownName};
use zbus::zvariant::{Array, OwnedValue, Value};

use super::control::client_number;
use super::{CLIENT_INTERFACE, INTERFACE, NAME, PATH};
use crate::frame::{MODIFIER_INVALID, MODIFIER_LINEAR};

/// How long each qemu-spice has to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer read, in bytes. A viewer has a few hundred, and there are not thousands of them.
const MAX_ANSWER: usize = 4 << 20;

/// The most clients of one qemu-spice that are asked for; it takes 64.
const MAX_CLIENTS: usize = 256;

/// What one qemu-spice answered.
#[derive(Debug)]
pub struct Status {
    /// Its unique name on the bus.
    pub name: String,
    /// Its properties, as JSON, or why there are none.
    answer: Result<Map<String, Json>, String>,
}

/// Asks each qemu-spice on `bus` for its status. The list is empty if there is none.
///
/// # Errors
/// If the bus itself does not answer. What a qemu-spice does not answer is part of its status.
pub(crate) async fn ask(bus: &Connection) -> zbus::Result<Vec<Status>> {
    let proxy = DBusProxy::new(bus).await?;
    let name = WellKnownName::try_from(NAME)?;
    let owners = match proxy.list_queued_owners(name).await {
        Ok(owners) => owners,
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let all = owners.into_iter().map(|owner| ask_one(bus, owner));
    Ok(futures_util::future::join_all(all).await)
}

async fn ask_one(bus: &Connection, owner: OwnedUniqueName) -> Status {
    let asked = async {
        let mut status = Status::new(owner.to_string(), get_all(bus, &owner, PATH, INTERFACE).await);
        if let Ok(properties) = &mut status.answer {
            let paths = properties.remove("Clients");
            let paths =
                paths.as_ref().and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
            let clients = paths.take(MAX_CLIENTS).map(|path| client(bus, &owner, path));
            let clients = futures_util::future::join_all(clients).await;
            properties
                .insert("Clients".to_owned(), clients.into_iter().flatten().map(Json::Object).collect());
        }
        status
    };
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| Status {
        name: owner.to_string(),
        answer: Err(format!("no answer within {} s", DEADLINE.as_secs())),
    })
}

/// Asks for a client's properties, and adds its number. `None` if it has left meanwhile.
pub(super) async fn client(bus: &Connection, owner: &str, path: &str) -> Option<Map<String, Json>> {
    let number = client_number(path)?;
    let asked = get_all(bus, owner, path, CLIENT_INTERFACE);
    let answer = tokio::time::timeout(DEADLINE, asked).await.ok()?.ok()?;
    let mut properties = properties_of(&answer).ok()?;
    properties.insert("Client".to_owned(), number.into());
    Some(properties)
}

async fn get_all(bus: &Connection, owner: &str, path: &str, interface: &str) -> zbus::Result<Message> {
    let properties = Some("org.freedesktop.DBus.Properties");
    bus.call_method(Some(owner), path, properties, "GetAll", &interface).await
}

fn properties_of(answer: &Message) -> zbus::Result<Map<String, Json>> {
    let body = answer.body();
    if body.len() > MAX_ANSWER {
        return Err(zbus::Error::ExcessData);
    }
    let properties: HashMap<String, OwnedValue> = body.deserialize()?;
    Ok(properties.iter().map(|(name, value)| (name.clone(), json(value))).collect())
}

/// Formats all answers as a JSON array of objects; a server that did not answer has an `error`.
#[must_use]
pub fn to_json(servers: &[Status]) -> Json {
    let object = |server: &Status| {
        let mut object = Map::from_iter([("BusName".to_owned(), Json::from(server.name.as_str()))]);
        match &server.answer {
            Ok(properties) => object.extend(properties.clone()),
            Err(error) => _ = object.insert("error".to_owned(), error.as_str().into()),
        }
        Json::Object(object)
    };
    servers.iter().map(object).collect()
}

/// Formats all answers as tables.
#[must_use]
pub fn to_text(servers: &[Status]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let texts: Vec<String> = servers.iter().map(|server| server.to_text(now)).collect();
    texts.join("\n")
}

impl Status {
    /// Reads what the owner of `name` answered.
    #[must_use]
    pub fn new(name: String, answer: zbus::Result<Message>) -> Self {
        let properties = answer.and_then(|answer| properties_of(&answer));
        Self { name, answer: properties.map_err(|error| error.to_string()) }
    }

    /// Formats it as tables, `now` being in seconds since 1970.
    fn to_text(&self, now: u64) -> String {
        let Ok(properties) = &self.answer else {
            let error = self.answer.as_ref().err().map_or("", String::as_str);
            return format!("qemu-spice {}: {}\n", self.name, printable(error));
        };
        let row = Entry(properties);
        let mut text = format!("qemu-spice {} ({})", row.text("Version"), self.name);
        if !row.flag("Attached") {
            return text + ": no VM is attached\n";
        }
        let (name, uuid) = (row.text("VMName"), row.text("VMUUID"));
        text += &match (name.as_str(), uuid.bytes().any(|c| c != b'0' && c != b'-')) {
            ("", false) => ": a VM without a name\n".to_owned(),
            (name, false) => format!(": VM {name}\n"),
            (name, true) => format!(": VM {name} {{{uuid}}}\n"),
        };
        let pages = row.list("Pages");
        if !pages.is_empty() {
            text += &format!("  page: {pages}\n");
        }
        let consoles = row.rows("Consoles");
        text += &table(
            ["CONSOLE", "DEVICE", "SIZE", "MEMORY", "FORMAT"],
            consoles.iter().map(|row| {
                [row.text("console"), row.text("label"), row.size(), row.memory(), row.text("format")]
            }),
        );
        let refused = row.counts("Refused");
        if !refused.is_empty() {
            text += &format!("  refused: {refused}\n");
        }
        if let Some(sound) = row.entry("Sound").filter(|sound| !sound.0.is_empty()) {
            text += &sound.sound();
        }
        text += &row.devices();
        let clients = row.rows("Clients");
        if !clients.is_empty() {
            text += &table(
                ["CLIENT", "FROM", "OVER", "FOR", "LET IN BY", "RIGHTS", "HAS", "CHANNELS"],
                clients.iter().map(|row| {
                    let [number, from, over] = ["Client", "Peer", "Transport"].map(|column| row.text(column));
                    let [by, rights] = ["By", "Rights"].map(|column| row.or_none(column));
                    let has = Some(row.list("Holds")).filter(|holds| !holds.is_empty());
                    let has = has.unwrap_or_else(|| "-".to_owned());
                    [number, from, over, row.age(now), by, rights, has, row.list("Channels")]
                }),
            );
        }
        let invitations = row.rows("Invitations");
        if !invitations.is_empty() {
            let lines = invitations.iter().map(|row| {
                let taken = if row.flag("taken") { "taken" } else { "open" };
                let uses = if row.flag("once") { "once" } else { "many" };
                [
                    row.text("invitation"),
                    row.or_none("name"),
                    row.text("rights"),
                    uses.into(),
                    taken.into(),
                    row.or_none("until"),
                ]
            });
            text += &table(["INVITATION", "NAME", "RIGHTS", "USES", "STATE", "UNTIL"], lines);
        }
        let viewers = row.rows("Viewers");
        if viewers.is_empty() {
            return text + "  no viewers\n";
        }
        text += &table(
            ["VIEWER", "CONSOLE", "OVER", "DELIVERY", "TIER", "VIDEO", "MBIT/S", "SENT", "DROPPED", "WHY"],
            viewers.iter().map(|row| {
                let [peer, console, over] = ["peer", "console", "transport"].map(|column| row.text(column));
                let [sent, dropped, why] = ["sent", "dropped", "reason"].map(|column| row.text(column));
                let (delivery, tier) = (row.text("delivery"), row.or_none("tier"));
                let video = Some(row.list("video")).filter(|video| !video.is_empty());
                let video = video.unwrap_or_else(|| "-".to_owned());
                [peer, console, over, delivery, tier, video, row.rate(), sent, dropped, why]
            }),
        );
        text
    }
}

/// An object with what it should have, or without.
pub(super) struct Entry<'a>(pub(super) &'a Map<String, Json>);

impl Entry<'_> {
    pub(super) fn text(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Json::String(text)) => printable(text),
            Some(Json::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// Returns the text of a column, or a dash if it is empty.
    fn or_none(&self, name: &str) -> String {
        Some(self.text(name)).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
    }

    /// Formats the rate in Mbit/s with one decimal.
    fn rate(&self) -> String {
        let tenths = self.0.get("rate").and_then(Json::as_u64).map(|rate| rate / 100_000);
        tenths.map_or_else(|| "-".to_owned(), |tenths| format!("{}.{}", tenths / 10, tenths % 10))
    }

    /// Formats how long ago `Since` was, in the largest unit that it fills.
    fn age(&self, now: u64) -> String {
        let Some(since) = self.0.get("Since").and_then(Json::as_u64) else { return "-".to_owned() };
        match now.saturating_sub(since) {
            seconds @ ..60 => format!("{seconds} s"),
            seconds @ 60..3600 => format!("{} min", seconds / 60),
            seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
            seconds => format!("{} d", seconds / 86_400),
        }
    }

    /// Formats a list of words or numbers.
    fn list(&self, name: &str) -> String {
        let words = self.0.get(name).and_then(Json::as_array).into_iter().flatten();
        let words = words.filter_map(|word| match word {
            Json::String(word) => Some(printable(word)),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Json::as_bool).unwrap_or_default()
    }

    fn entry(&self, name: &str) -> Option<Entry<'_>> {
        self.0.get(name).and_then(Json::as_object).map(Entry)
    }

    /// Formats the guest's sound as a line.
    fn sound(&self) -> String {
        let state = if self.flag("playing") { "playing" } else { "silent" };
        let [listeners, encoded, missed] = ["listeners", "encoded", "missed"].map(|name| self.text(name));
        let speaker = match (self.flag("recording"), self.text("microphone")) {
            (_, client) if client.is_empty() => "no microphone".to_owned(),
            (true, client) => format!("client {client} speaks"),
            (false, client) => format!("client {client} has the microphone"),
        };
        format!(
            "  sound: {state}, {listeners} listening, {encoded} blocks encoded, {missed} missed; {speaker}\n"
        )
    }

    /// Formats the guest's devices as a table, if it has any.
    fn devices(&self) -> String {
        let devices = self.rows("Devices");
        if devices.is_empty() {
            return String::new();
        }
        let lines = devices.iter().map(|row| {
            let state = if row.flag("open") { "open" } else { "closed" };
            let client = row.or_none("client");
            [row.text("channel"), row.text("name"), state.into(), client, row.list("waiting")]
        });
        table(["DEVICE", "PORT", "GUEST", "CLIENT", "WAITING"], lines)
    }

    fn rows(&self, name: &str) -> Vec<Entry<'_>> {
        let rows = self.0.get(name).and_then(Json::as_array);
        rows.into_iter().flatten().filter_map(Json::as_object).map(Entry).collect()
    }

    /// Formats counts such as `3 late, 1 full`, sorted by name.
    fn counts(&self, name: &str) -> String {
        let counts = self.0.get(name).and_then(Json::as_object);
        let counts = counts.into_iter().flatten().filter_map(|(why, count)| Some((why, count.as_u64()?)));
        counts.map(|(why, count)| format!("{count} {}", printable(why))).collect::<Vec<_>>().join(", ")
    }

    fn size(&self) -> String {
        match (self.text("width"), self.text("height")) {
            (width, height) if !width.is_empty() => format!("{width}x{height}"),
            _ => "nothing shown".to_owned(),
        }
    }

    fn memory(&self) -> String {
        let memory = self.text("memory");
        match self.0.get("modifier").and_then(Json::as_u64) {
            Some(MODIFIER_LINEAR) => format!("{memory} LINEAR"),
            Some(MODIFIER_INVALID) => format!("{memory} no modifier"),
            Some(modifier) => format!("{memory} {modifier:#x}"),
            None => memory,
        }
    }
}

/// Pads the columns of a table to their widest cell, with two spaces before each.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = |row: &[String; N]| row.get(column).map_or(0, |cell| cell.chars().count());
            let width = rows.iter().map(width).max().unwrap_or(0);
            line += &format!("  {cell:width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Replaces control characters, so that `text` cannot control the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Converts a D-Bus value to JSON. Types other than strings, numbers, booleans, lists and dictionaries become
/// null.
fn json(value: &Value<'_>) -> Json {
    match value {
        Value::Str(text) => text.as_str().into(),
        Value::ObjectPath(path) => path.as_str().into(),
        Value::Bool(truth) => (*truth).into(),
        Value::U8(number) => (*number).into(),
        Value::U16(number) => (*number).into(),
        Value::U32(number) => (*number).into(),
        Value::U64(number) => (*number).into(),
        Value::I32(number) => (*number).into(),
        Value::I64(number) => (*number).into(),
        Value::Value(inner) => json(inner),
        Value::Array(list) => list_json(list),
        Value::Dict(entries) => {
            let entry = |(name, value): (&Value<'_>, &Value<'_>)| match name {
                Value::Str(name) => Some((name.to_string(), json(value))),
                _ => None,
            };
            Json::Object(entries.iter().filter_map(entry).collect())
        }
        _ => Json::Null,
    }
}

fn list_json(list: &Array<'_>) -> Json {
    list.iter().map(json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(answer: Json) -> Status {
        let Json::Object(properties) = answer else { panic!() };
        Status { name: ":1.7".into(), answer: Ok(properties) }
    }

    #[test]
    fn a_status_is_two_tables() {
        let server = status(serde_json::json!({
            "Version": "0.1.0", "Attached": true, "VMName": "alpine",
            "VMUUID": "00112233-4455-6677-8899-aabbccddeeff",
            "Consoles": [
                { "console": 0, "label": "virtio-vga", "width": 1280, "height": 800, "memory": "dmabuf",
                  "format": "XR24", "planes": 1, "modifier": 0 },
                { "console": 1, "label": "virtio-vga" },
            ],
            "Viewers": [
                { "console": 0, "peer": "10.0.0.7:4711", "transport": "tcp", "delivery": "Encode(h264)",
                  "reason": "buffers cannot be passed over this connection", "sent": 120, "dropped": 3,
                  "rate": 2_780_000, "tier": "middle", "video": ["640x360+576+160", "64x64+0+0"] },
                { "console": 0, "peer": ":1.9 (process 12)", "transport": "dbus", "delivery": "Passthrough",
                  "reason": "the listener takes GPU buffers", "sent": 7, "dropped": 0 },
            ],
            "Clients": [
                { "Client": 12, "Peer": "10.0.0.7:4711", "Transport": "tcp", "Since": 9_000,
                  "By": "invitation 4 (ann)", "Rights": "look", "Channels": ["display:0", "inputs:0"],
                  "Holds": ["agent", "microphone"] },
                { "Client": 13, "Peer": "process 7", "Transport": "unix", "Since": 1_000, "Channels": [] },
            ],
            "Refused": { "displaced": 1872, "wrong-password": 3, "odd": "many" },
            "Invitations": [
                { "invitation": 4, "name": "ann", "rights": "look", "once": true, "taken": true,
                  "until": 1_800_000_000u64 },
                { "invitation": 5, "name": "", "rights": "use", "once": false, "taken": false },
            ],
            "Sound": { "playing": true, "listeners": 4, "encoded": 1200, "missed": 3, "recording": false,
                       "microphone": 12 },
            "Devices": [
                { "channel": "usbredir:0", "name": "org.qemu.usbredir", "open": true, "client": 12,
                  "waiting": [13, 14] },
                { "channel": "port:0", "name": "com.example", "open": false },
            ],
        }));
        let expected = "\
qemu-spice 0.1.0 (:1.7): VM alpine {00112233-4455-6677-8899-aabbccddeeff}
  CONSOLE  DEVICE      SIZE           MEMORY         FORMAT
  0        virtio-vga  1280x800       dmabuf LINEAR  XR24
  1        virtio-vga  nothing shown
  refused: 1872 displaced, 3 wrong-password
  sound: playing, 4 listening, 1200 blocks encoded, 3 missed; client 12 has the microphone
  DEVICE      PORT               GUEST   CLIENT  WAITING
  usbredir:0  org.qemu.usbredir  open    12      13 14
  port:0      com.example        closed  -
  CLIENT  FROM           OVER  FOR    LET IN BY           RIGHTS  HAS               CHANNELS
  12      10.0.0.7:4711  tcp   2 min  invitation 4 (ann)  look    agent microphone  display:0 inputs:0
  13      process 7      unix  2 h    -                   -       -
  INVITATION  NAME  RIGHTS  USES  STATE  UNTIL
  4           ann   look    once  taken  1800000000
  5           -     use     many  open   -
  VIEWER             CONSOLE  OVER  DELIVERY      TIER    VIDEO                      MBIT/S  SENT  DROPPED  WHY
  10.0.0.7:4711      0        tcp   Encode(h264)  middle  640x360+576+160 64x64+0+0  2.7     120   3        \
buffers cannot be passed over this connection
  :1.9 (process 12)  0        dbus  Passthrough   -       -                          -       7     0        \
the listener takes GPU buffers
";
        assert_eq!(server.to_text(9_120), expected);
    }

    #[test]
    fn whoever_has_the_name_may_answer_anything() {
        let odd = status(serde_json::json!({
            "Version": 7, "Attached": true, "VMName": "\u{1b}[2J", "VMUUID": null,
            "Consoles": [3, { "console": "\n" }], "Viewers": "none",
        }));
        let silent = Status { name: ":1.8".into(), answer: Err("no answer within 5 s".into()) };
        let text = to_text(&[odd, silent]);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.ends_with("qemu-spice :1.8: no answer within 5 s\n"), "{text:?}");
    }
}
