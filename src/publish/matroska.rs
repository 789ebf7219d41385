//! Matroska (RFC 9559): H.264, and Opus beside it, as they come from the encoders.
//!
//! Each block is in the file once it came, so that a file which nobody ended plays to its last block. What an end adds
//! is an index, and how long it lasts. A picture of another size goes on in the same track: its parameter sets are in
//! its key frame, too, where decoders heed them (as in ISO/IEC 14496-15's `avc3`).

use std::time::Duration;

use crate::encode::nal_units;
use crate::frame::Size;

/// The longest cluster: a block's time is 16 bits of milliseconds after its cluster's.
const CLUSTER: Duration = Duration::from_secs(5);

/// The least time between two entries of the index: a player decodes from there on.
const CUES: Duration = Duration::from_secs(1);

/// Numbers of the tracks.
const VIDEO: u8 = 1;
const SOUND: u8 = 2;

/// A size that is not known yet, in eight bytes: that of a segment or cluster that goes on.
const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// `OpusHead` (RFC 7845, 5.1) of the packets that `encode` makes: stereo, of 48 kHz, whose first samples (libopus' 6.5
/// ms) are to be skipped.
const OPUS_HEAD: [u8; 19] = *b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";

/// The same skip, and what a decoder needs before the place that it is to begin at, in nanoseconds.
const OPUS_DELAY: u64 = 6_500_000;
const OPUS_PRE_ROLL: u64 = 80_000_000;

/// The bytes of the list of parts at the beginning: three entries.
const SEEK_HEAD: usize = 5 + 3 * 21;

/// The bytes of [`id::DURATION`] with its value.
const DURATION: usize = 11;

/// Bytes to be written to a file at a place: at its end, or over some that are there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Write {
    /// The place, in bytes from the file's beginning.
    pub(super) at: u64,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
}

/// A file that is being made. Times count from its beginning.
#[derive(Debug)]
pub(super) struct Muxer {
    /// The file's length.
    length: u64,
    /// Where what is in the segment begins.
    segment: u64,
    seek_head: u64,
    info: u64,
    duration: u64,
    tracks: u64,
    cluster: Option<Cluster>,
    cues: Vec<Cue>,
    /// The last time of each track.
    last: [Duration; 2],
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    start: u64,
    time: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Cue {
    time: Duration,
    cluster: u64,
}

impl Muxer {
    /// Begins a file whose first frame is `key`, a key frame of this size in Annex B, with a track of sound if
    /// `has_sound`. `None` if the frame has no parameter sets.
    pub(super) fn begin(key: &[u8], size: Size, has_sound: bool) -> Option<(Self, Write)> {
        let (mut bytes, mut header) = (Vec::new(), Vec::new());
        for (id, number) in [(0x4286, 1), (0x42f7, 1), (0x42f2, 4), (0x42f3, 8)] {
            unsigned(&mut header, id, number);
        }
        element(&mut header, 0x4282, b"matroska");
        for id in [0x4287, 0x4285] {
            unsigned(&mut header, id, if id == 0x4287 { 4 } else { 2 });
        }
        element(&mut bytes, id::EBML, &header);
        put_id(&mut bytes, id::SEGMENT);
        bytes.extend(UNKNOWN);
        let segment = length(&bytes);
        void(&mut bytes, SEEK_HEAD);
        let info = length(&bytes);
        let mut about = Vec::new();
        unsigned(&mut about, 0x002a_d7b1, 1_000_000); // a time's unit, in nanoseconds
        for id in [0x4d80, 0x5741] {
            element(&mut about, id, concat!("qemu-spice ", env!("CARGO_PKG_VERSION")).as_bytes());
        }
        void(&mut about, DURATION);
        element(&mut bytes, id::INFO, &about);
        let duration = length(&bytes) - length(&[0; DURATION]);
        let tracks = length(&bytes);
        let mut entries = video_track(key, size)?;
        if has_sound {
            entries.extend(sound_track());
        }
        element(&mut bytes, id::TRACKS, &entries);
        let muxer = Self {
            length: length(&bytes),
            segment,
            seek_head: segment,
            info,
            duration,
            tracks,
            cluster: None,
            cues: Vec::new(),
            last: [Duration::ZERO; 2],
        };
        Some((muxer, Write { at: 0, bytes }))
    }

    /// Adds a frame of the picture, in Annex B.
    pub(super) fn add_video(&mut self, time: Duration, data: &[u8], is_key: bool) -> Vec<Write> {
        let mut block = Vec::with_capacity(data.len() + 16);
        for nal in nal_units(data) {
            block.extend(u32::try_from(nal.len()).unwrap_or(0).to_be_bytes());
            block.extend(nal);
        }
        self.add(VIDEO, time, &block, is_key)
    }

    /// Adds a packet of sound.
    pub(super) fn add_sound(&mut self, time: Duration, data: &[u8]) -> Vec<Write> {
        self.add(SOUND, time, data, true)
    }

    /// Has it last until `time`, although nothing is added.
    pub(super) fn last_until(&mut self, time: Duration) -> Vec<Write> {
        let [video, _] = &mut self.last;
        *video = time.max(*video);
        Vec::new()
    }

    /// Returns how long it lasts so far.
    pub(super) fn time(&self) -> Duration {
        self.last.into_iter().max().unwrap_or_default()
    }

    /// Returns the file's length in bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Ends the file: gives its index, and how long it lasts.
    pub(super) fn end(&mut self) -> Vec<Write> {
        let mut writes: Vec<Write> = self.end_cluster().into_iter().collect();
        let mut entries = Vec::new();
        for cue in &self.cues {
            let (mut place, mut point) = (Vec::new(), Vec::new());
            unsigned(&mut place, 0xf7, VIDEO.into());
            unsigned(&mut place, 0xf1, cue.cluster - self.segment);
            unsigned(&mut point, 0xb3, millis(cue.time));
            element(&mut point, 0xb7, &place);
            element(&mut entries, 0xbb, &point);
        }
        let cues = self.length;
        writes.push(self.append(|bytes| element(bytes, id::CUES, &entries)));
        let mut parts = Vec::new();
        for (part, at) in [(id::INFO, self.info), (id::TRACKS, self.tracks), (id::CUES, cues)] {
            let mut entry = Vec::new();
            element(&mut entry, 0x53ab, &part.to_be_bytes());
            element(&mut entry, 0x53ac, &(at - self.segment).to_be_bytes());
            element(&mut parts, 0x4dbb, &entry);
        }
        let mut seek_head = Vec::new();
        element(&mut seek_head, 0x114d_9b74, &parts);
        writes.push(Write { at: self.seek_head, bytes: seek_head });
        writes.push(Write { at: self.segment - 8, bytes: known(self.length - self.segment) });
        writes.push(self.duration());
        writes
    }

    /// Says how long it lasts so far, in the place that is kept for it.
    pub(super) fn duration(&self) -> Write {
        let mut bytes = Vec::new();
        element(&mut bytes, id::DURATION, &(self.time().as_secs_f64() * 1000.0).to_be_bytes());
        Write { at: self.duration, bytes }
    }

    fn add(&mut self, track: u8, time: Duration, data: &[u8], is_key: bool) -> Vec<Write> {
        let last = self.last.get_mut(usize::from(track) - 1);
        let time = last.map_or(time, |last| {
            *last = time.max(*last);
            *last
        });
        let begins = track == VIDEO && is_key;
        let goes_on = |cluster: &Cluster| !begins && time < cluster.time + CLUSTER;
        let mut writes = Vec::new();
        let cluster = match self.cluster.filter(goes_on) {
            Some(cluster) => cluster,
            None => {
                writes.extend(self.end_cluster());
                let cluster = Cluster { start: self.length, time };
                writes.push(self.append(|bytes| {
                    put_id(bytes, id::CLUSTER);
                    bytes.extend(UNKNOWN);
                    unsigned(bytes, 0xe7, millis(time));
                }));
                *self.cluster.insert(cluster)
            }
        };
        let indexed = self.cues.last().is_some_and(|last| time < last.time + CUES);
        if begins && !indexed {
            self.cues.push(Cue { time, cluster: cluster.start });
        }
        // Sound may be a little older than the frame that began the cluster.
        let (after, before) = (millis(time), millis(cluster.time));
        let relative = i16::try_from(after.cast_signed() - before.cast_signed()).unwrap_or(0);
        let mut block = vec![0x80 | track];
        block.extend(relative.to_be_bytes());
        block.push(if is_key { 0x80 } else { 0 });
        block.extend(data);
        writes.push(self.append(|bytes| element(bytes, 0xa3, &block)));
        writes
    }

    fn end_cluster(&mut self) -> Option<Write> {
        let start = self.cluster.take()?.start;
        let size = self.length - start - 12; // an id of four bytes and a size of eight
        Some(Write { at: start + 4, bytes: known(size) })
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Write {
        let (at, mut bytes) = (self.length, Vec::new());
        write(&mut bytes);
        self.length += length(&bytes);
        Write { at, bytes }
    }
}

/// Elements that have others in them, and those that are looked for.
mod id {
    pub(super) const EBML: u32 = 0x1a45_dfa3;
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const INFO: u32 = 0x1549_a966;
    pub(super) const DURATION: u32 = 0x4489;
    pub(super) const TRACKS: u32 = 0x1654_ae6b;
    pub(super) const CLUSTER: u32 = 0x1f43_b675;
    pub(super) const CUES: u32 = 0x1c53_bb6b;
}

/// Writes the entry of the picture's track. `None` if `key` has no parameter sets.
fn video_track(key: &[u8], size: Size) -> Option<Vec<u8>> {
    let mut track = track(VIDEO, 1, b"V_MPEG4/ISO/AVC");
    element(&mut track, 0x63a2, &decoder_configuration(key)?);
    let mut video = Vec::new();
    unsigned(&mut video, 0xb0, size.width.into());
    unsigned(&mut video, 0xba, size.height.into());
    element(&mut track, 0xe0, &video);
    let mut entry = Vec::new();
    element(&mut entry, 0xae, &track);
    Some(entry)
}

fn sound_track() -> Vec<u8> {
    let mut track = track(SOUND, 2, b"A_OPUS");
    element(&mut track, 0x63a2, &OPUS_HEAD);
    unsigned(&mut track, 0x56aa, OPUS_DELAY);
    unsigned(&mut track, 0x56bb, OPUS_PRE_ROLL);
    let mut audio = Vec::new();
    element(&mut audio, 0xb5, &48_000_f32.to_be_bytes());
    unsigned(&mut audio, 0x9f, 2);
    element(&mut track, 0xe1, &audio);
    let mut entry = Vec::new();
    element(&mut entry, 0xae, &track);
    entry
}

/// Writes what the tracks have in common: their number, kind and codec.
fn track(number: u8, kind: u64, codec: &[u8]) -> Vec<u8> {
    let mut track = Vec::new();
    for (id, value) in [(0xd7, number.into()), (0x73c5, number.into()), (0x83, kind), (0x9c, 0)] {
        unsigned(&mut track, id, value);
    }
    element(&mut track, 0x86, codec);
    track
}

/// Writes `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1) of the parameter sets in a key frame.
fn decoder_configuration(key: &[u8]) -> Option<Vec<u8>> {
    let of = |kind: u8| nal_units(key).filter(move |nal| nal.first().is_some_and(|head| head & 0x1f == kind));
    let sps = of(7).next()?;
    let pps: Vec<&[u8]> = of(8).collect();
    let [_, profile, constraints, level, ..] = *sps else { return None };
    let mut record = vec![1, profile, constraints, level, 0xff, 0xe1]; // lengths of four bytes; one SPS
    record.extend(u16::try_from(sps.len()).ok()?.to_be_bytes());
    record.extend(sps);
    record.push(u8::try_from(pps.len()).ok()?);
    for pps in pps {
        record.extend(u16::try_from(pps.len()).ok()?.to_be_bytes());
        record.extend(pps);
    }
    if matches!(profile, 100 | 110 | 122 | 144) {
        record.extend([0xfd, 0xf8, 0xf8, 0]); // 4:2:0 of 8 bits, as `Codec::H264` is
    }
    Some(record)
}

fn element(out: &mut Vec<u8>, id: u32, data: &[u8]) {
    put_id(out, id);
    let size = length(data);
    if size < 0x7f {
        out.push(0x80 | u8::try_from(size).unwrap_or(0));
    } else {
        out.extend(known(size));
    }
    out.extend(data);
}

fn unsigned(out: &mut Vec<u8>, id: u32, value: u64) {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
    element(out, id, bytes.get(zeros..).unwrap_or_default());
}

/// Keeps a place of so many bytes, 2 to 128.
fn void(out: &mut Vec<u8>, bytes: usize) {
    element(out, 0xec, &vec![0; bytes - 2]);
}

fn put_id(out: &mut Vec<u8>, id: u32) {
    out.extend(id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0));
}

/// Writes a size in eight bytes.
fn known(size: u64) -> Vec<u8> {
    (size | 1 << 56).to_be_bytes().to_vec()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[0, 0, 0, 1, 0x67, 66, 0xc0, 31, 9, 0, 0, 0, 1, 0x68, 5, 6, 0, 0, 0, 1, 0x65, 7, 8];
    const OTHER: &[u8] = &[0, 0, 0, 1, 0x41, 1, 2, 3];
    const MASTERS: [u32; 9] =
        [id::EBML, id::SEGMENT, id::INFO, id::TRACKS, id::CLUSTER, id::CUES, 0x114d_9b74, 0xbb, 0xb7];

    fn write(file: &mut Vec<u8>, writes: impl IntoIterator<Item = Write>) {
        for Write { at, bytes } in writes {
            let at = at as usize;
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// A file of ten seconds with five frames and two packets of sound; whether it was ended.
    fn made(ended: bool) -> Vec<u8> {
        let at = Duration::from_millis;
        let (mut muxer, begin) = Muxer::begin(KEY, Size::new(640, 480), true).unwrap();
        let mut file = Vec::new();
        write(&mut file, [begin]);
        write(&mut file, muxer.add_video(at(0), KEY, true));
        write(&mut file, muxer.add_sound(at(40), b"first"));
        write(&mut file, muxer.add_video(at(50), OTHER, false));
        write(&mut file, muxer.add_video(at(6000), OTHER, false));
        write(&mut file, muxer.add_video(at(9000), KEY, true));
        write(&mut file, muxer.add_sound(at(8990), b"second"));
        write(&mut file, muxer.add_video(at(10_000), OTHER, false));
        assert_eq!((muxer.time(), muxer.length()), (at(10_000), file.len() as u64));
        if ended {
            assert!(muxer.last_until(at(12_000)).is_empty());
            write(&mut file, muxer.end());
            assert_eq!(muxer.length(), file.len() as u64);
        }
        file
    }

    /// All elements of a file with their places: those in masters too. One of unknown size goes on to the end, or to
    /// the next cluster.
    fn read(file: &[u8], mut at: usize, end: usize, found: &mut Vec<(usize, u32, Vec<u8>)>) {
        while at < end {
            let start = at;
            let wide = file[at].leading_zeros() as usize + 1;
            let id = file[at..at + wide].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
            at += wide;
            let wide = file[at].leading_zeros() as usize + 1;
            let first = u64::from(file[at]) & ((1 << (8 - wide)) - 1);
            let size = file[at + 1..at + wide].iter().fold(first, |size, byte| size << 8 | u64::from(*byte));
            let unknown = file[at..at + wide] == UNKNOWN;
            at += wide;
            let next = if unknown { end } else { at + size as usize };
            assert!(next <= end, "{id:x} at {start} goes on to {next}, and {end} is the end");
            found.push((start, id, file[at..next].to_vec()));
            match MASTERS.contains(&id) {
                true if unknown && id == id::CLUSTER => {} // the next one is beside it
                true => {
                    read(file, at, next, found);
                    at = next;
                }
                false => at = next,
            }
        }
    }

    fn elements(file: &[u8]) -> Vec<(usize, u32, Vec<u8>)> {
        let mut found = Vec::new();
        read(file, 0, file.len(), &mut found);
        found
    }

    fn blocks(found: &[(usize, u32, Vec<u8>)]) -> Vec<(u64, u8, Vec<u8>)> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
        let (mut cluster, mut blocks) = (0, Vec::new());
        for (_, id, data) in found {
            match id {
                0xe7 => cluster = number(data),
                0xa3 => {
                    let time = cluster + i64::from(i16::from_be_bytes([data[1], data[2]]));
                    blocks.push((time as u64, data[0] & 0x7f, data[4..].to_vec()));
                }
                _ => {}
            }
        }
        blocks
    }

    #[test]
    fn what_was_added_is_there_whether_or_not_the_file_was_ended() {
        for ended in [true, false] {
            let blocks = blocks(&elements(&made(ended)));
            let times: Vec<_> = blocks.iter().map(|(time, track, _)| (*time, *track)).collect();
            assert_eq!(times, [(0, 1), (40, 2), (50, 1), (6000, 1), (9000, 1), (8990, 2), (10_000, 1)]);
            assert_eq!(blocks[1].2, b"first");
            assert_eq!(blocks[2].2, [0, 0, 0, 4, 0x41, 1, 2, 3]);
        }
    }

    #[test]
    fn an_end_adds_the_index_and_the_duration() {
        let file = made(true);
        let found = elements(&file);
        let data =
            |wanted: u32| found.iter().filter(move |(_, id, _)| *id == wanted).map(|(_, _, data)| data);
        let duration: [u8; 8] = data(id::DURATION).next().unwrap().as_slice().try_into().unwrap();
        assert_eq!(f64::from_be_bytes(duration), 12_000.0);
        let segment = found.iter().find(|(_, id, _)| *id == id::SEGMENT).unwrap().0 + 12;
        let number = |bytes: &Vec<u8>| bytes.iter().fold(0, |number, byte| number << 8 | *byte as usize);
        let clusters: Vec<usize> = data(0xf1).map(|at| segment + number(at)).collect();
        assert_eq!(data(0xb3).map(number).collect::<Vec<_>>(), [0, 9000]);
        for at in clusters {
            assert!(found.iter().any(|(start, id, _)| *start == at && *id == id::CLUSTER), "{at}");
        }
        assert!(data(0xec).next().is_none(), "a place that was kept is still empty");
    }

    #[test]
    fn a_key_frame_without_parameter_sets_begins_nothing() {
        assert!(Muxer::begin(OTHER, Size::new(640, 480), false).is_none());
    }
}
