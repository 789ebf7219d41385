use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::device::Outcome;
use super::*;
use crate::frame::{Rect, Size};

const OK: u32 = 0x1100;
const UNSPECIFIED: u32 = 0x1200;
const OUT_OF_MEMORY: u32 = 0x1201;
const NO_SCANOUT: u32 = 0x1202;
const NO_RESOURCE: u32 = 0x1203;
const PARAMETER: u32 = 0x1205;

type Bytes = Rc<RefCell<Vec<u8>>>;

/// A guest's memory, and a host that has all it asks for. What it shares is as it was then.
struct Memory {
    guest: RefCell<Vec<u8>>,
}

impl Memory {
    fn new(len: usize) -> Self {
        let guest = (0..len).map(|n| (n * 7 + n / 251) as u8).collect();
        Self { guest: RefCell::new(guest) }
    }
}

impl Host for Memory {
    type Pixels = Bytes;

    fn allocate(&self, bytes: u64) -> Option<Bytes> {
        Some(Rc::new(RefCell::new(vec![0; bytes as usize])))
    }

    fn share(&self, ranges: &[Range]) -> Option<Bytes> {
        let guest = self.guest.borrow();
        let part = |range: &Range| guest.get(range.address as usize..)?.get(..range.len as usize);
        let parts: Option<Vec<_>> = ranges.iter().map(part).collect();
        Some(Rc::new(RefCell::new(parts?.concat())))
    }

    fn copy(&self, address: u64, len: u64, pixels: &Bytes, at: u64) -> Option<()> {
        let guest = self.guest.borrow();
        let from = guest.get(usize::try_from(address).ok()?..)?.get(..len as usize)?;
        let mut pixels = pixels.borrow_mut();
        pixels.get_mut(at as usize..)?.get_mut(..len as usize)?.copy_from_slice(from);
        Some(())
    }

    fn read(&self, pixels: &Bytes, out: &mut [u8]) -> Option<()> {
        out.copy_from_slice(pixels.borrow().get(..out.len())?);
        Some(())
    }

    fn read_guest(&self, address: u64, out: &mut [u8]) -> Option<()> {
        out.copy_from_slice(self.guest.borrow().get(usize::try_from(address).ok()?..)?.get(..out.len())?);
        Some(())
    }
}

/// A guest, and what is seen of its scanouts.
struct Vm {
    device: Device<Bytes>,
    memory: Memory,
    screens: BTreeMap<u32, Picture<Bytes>>,
    damage: Vec<(u32, Rect)>,
    cursor: Option<CursorChange>,
}

impl Vm {
    fn new() -> Self {
        let memory = Memory::new(1 << 20);
        let (screens, damage) = (BTreeMap::new(), Vec::new());
        Self { device: Device::default(), memory, screens, damage, cursor: None }
    }

    /// Has the device carry out a command of 32-bit numbers; returns the number of its reply.
    fn says(&mut self, kind: u32, numbers: &[u32]) -> u32 {
        let reply = self.answer(&request(kind, numbers));
        u32::from_le_bytes(reply[..4].try_into().unwrap())
    }

    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let Outcome { reply, effects } = self.device.control(request, &Outputs::default(), &self.memory);
        self.see(effects);
        reply
    }

    fn see(&mut self, effects: Vec<Effect<Bytes>>) {
        for effect in effects {
            match effect {
                Effect::Show { scanout, picture: Some(picture) } => {
                    self.screens.insert(scanout, picture);
                }
                Effect::Show { scanout, picture: None } => {
                    self.screens.remove(&scanout);
                }
                Effect::Damage { scanout, part } => self.damage.push((scanout, part)),
                Effect::Cursor(change) => self.cursor = Some(change),
            }
        }
    }

    fn points(&mut self, kind: u32, numbers: &[u32]) -> Option<CursorChange> {
        let effect = self.device.cursor(&request(kind, numbers), &self.memory);
        self.see(effect.into_iter().collect());
        self.cursor.take()
    }

    /// The bytes of what a scanout shows, row by row.
    fn screen(&self, scanout: u32) -> Option<(Size, Vec<u8>)> {
        let picture = self.screens.get(&scanout)?;
        let memory = picture.pixels.borrow();
        let part = picture.part;
        let row = |y: u32| {
            let at = (picture.offset + y * picture.stride + part.x * 4) as usize;
            memory[at..at + part.width as usize * 4].to_vec()
        };
        Some((Size::new(part.width, part.height), (part.y..part.bottom()).flat_map(row).collect()))
    }

    /// A resource of XR24 with guest memory from `address` on.
    fn resource(&mut self, id: u32, width: u32, height: u32, address: u32) {
        assert_eq!(self.says(0x101, &[id, 2, width, height]), OK);
        assert_eq!(self.says(0x106, &[id, 1, address, 0, width * height * 4, 0]), OK);
    }

    fn guest(&self, at: usize, len: usize) -> Vec<u8> {
        self.memory.guest.borrow()[at..at + len].to_vec()
    }
}

fn request(kind: u32, numbers: &[u32]) -> Vec<u8> {
    let header = [kind, 0, 0, 0, 0, 0];
    header.iter().chain(numbers).flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn what_the_guest_draws_is_shown_and_what_changed_is_told() {
    let mut vm = Vm::new();
    vm.resource(5, 64, 32, 0x1000);
    assert_eq!(vm.says(0x103, &[0, 0, 64, 32, 0, 5]), OK);
    assert_eq!(vm.screen(0), Some((Size::new(64, 32), vec![0; 64 * 32 * 4])));
    assert_eq!(vm.says(0x105, &[0, 0, 64, 32, 0, 0, 5, 0]), OK);
    assert_eq!(vm.says(0x104, &[0, 0, 64, 32, 5, 0]), OK);
    assert_eq!(vm.screen(0).unwrap().1, vm.guest(0x1000, 64 * 32 * 4));
    assert_eq!(vm.damage, [(0, Rect::new(0, 0, 64, 32))]);
}

#[test]
fn a_scanout_can_be_a_part_of_a_resource() {
    let mut vm = Vm::new();
    vm.resource(1, 64, 32, 0);
    assert_eq!(vm.says(0x105, &[0, 0, 64, 32, 0, 0, 1, 0]), OK);
    assert_eq!(vm.says(0x103, &[16, 8, 32, 16, 1, 1]), OK);
    let (size, pixels) = vm.screen(1).unwrap();
    assert_eq!((size, &pixels[..4]), (Size::new(32, 16), vm.guest((8 * 64 + 16) * 4, 4).as_slice()));
    // Only what is inside it is told, in its own coordinates.
    assert_eq!(vm.says(0x104, &[0, 0, 20, 9, 1, 0]), OK);
    assert_eq!(vm.says(0x104, &[0, 0, 16, 8, 1, 0]), OK);
    assert_eq!(vm.damage, [(1, Rect::new(0, 0, 4, 1))]);
}

#[test]
fn a_screen_goes_dark_with_its_resource_and_at_a_reset() {
    let mut vm = Vm::new();
    vm.resource(1, 8, 8, 0);
    vm.resource(2, 8, 8, 0);
    assert_eq!(vm.says(0x103, &[0, 0, 8, 8, 0, 1]), OK);
    assert_eq!(vm.says(0x103, &[0, 0, 8, 8, 1, 2]), OK);
    assert_eq!(vm.says(0x102, &[1, 0]), OK);
    assert!(vm.screen(0).is_none() && vm.screen(1).is_some());
    let effects = vm.device.reset();
    vm.see(effects);
    assert!(vm.screen(1).is_none());
    assert_eq!(vm.says(0x104, &[0, 0, 8, 8, 2, 0]), NO_RESOURCE, "it is forgotten");
    vm.resource(2, 8, 8, 0);
    assert_eq!(vm.says(0x103, &[0, 0, 8, 8, 0, 2]), OK);
    assert_eq!(vm.says(0x103, &[0, 0, 0, 0, 0, 0]), OK);
    assert!(vm.screen(0).is_none(), "turned off");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut vm = Vm::new();
    vm.resource(1, 8, 8, 0);
    let big = u32::MAX;
    let refused: &[(u32, &[u32], u32)] = &[
        (0x101, &[0, 2, 8, 8], NO_RESOURCE),
        (0x101, &[1, 2, 8, 8], NO_RESOURCE),
        (0x101, &[2, 5, 8, 8], PARAMETER),
        (0x101, &[2, 2, 0, 8], PARAMETER),
        (0x101, &[2, 2, big, big], PARAMETER),
        (0x101, &[2, 2, 16_384, 16_384], OUT_OF_MEMORY),
        (0x101, &[2, 2, 8], UNSPECIFIED),
        (0x102, &[7, 0], NO_RESOURCE),
        (0x103, &[0, 0, 8, 8, 16, 1], NO_SCANOUT),
        (0x103, &[0, 0, 8, 8, big, 0], NO_SCANOUT),
        (0x103, &[0, 0, 9, 8, 0, 1], PARAMETER),
        (0x103, &[big, 0, 8, 8, 0, 1], PARAMETER),
        (0x103, &[0, 0, 0, 8, 0, 1], PARAMETER),
        (0x103, &[0, 0, 8, 8, 0, 9], NO_RESOURCE),
        (0x104, &[0, 0, 8, 8, 9, 0], NO_RESOURCE),
        (0x105, &[0, 0, 8, 9, 0, 0, 1, 0], PARAMETER),
        (0x105, &[0, 0, 8, 8, 4, 0, 1, 0], PARAMETER),
        (0x105, &[0, 0, 8, 8, big, big, 1, 0], PARAMETER),
        (0x106, &[1, 1, 0, 0, 4, 0], UNSPECIFIED),
        (0x106, &[1, big], PARAMETER),
        (0x107, &[9, 0], NO_RESOURCE),
        (0x108, &[0, 0], UNSPECIFIED),
        (0x10a, &[16, 0], NO_SCANOUT),
        (0x10c, &[3, 2, 0, 0, 0, 0, 4096, 0], UNSPECIFIED),
        (0x10c, &[3, 1, 0, 1, 0, 0, 4097, 0, 0, 0, 4096, 0], PARAMETER),
        (0x200, &[0; 20], UNSPECIFIED),
        (0x300, &[0; 8], UNSPECIFIED),
    ];
    for (kind, numbers, reply) in refused {
        assert_eq!(vm.says(*kind, numbers), *reply, "{kind:#x} {numbers:?}");
    }
    for len in 0..24 {
        assert_eq!(vm.answer(&vec![1; len]).len(), 24);
    }
    assert!(vm.screens.is_empty() && vm.damage.is_empty());
    // Memory that is not there.
    assert_eq!(vm.says(0x107, &[1, 0]), OK);
    assert_eq!(vm.says(0x105, &[0, 0, 8, 8, 0, 0, 1, 0]), UNSPECIFIED);
    assert_eq!(vm.says(0x106, &[1, 1, big, big, 256, 0]), PARAMETER);
    assert_eq!(vm.says(0x106, &[1, 1, big, 1, 256, 0]), OK);
    assert_eq!(vm.says(0x105, &[0, 0, 8, 8, 0, 0, 1, 0]), PARAMETER);
}

#[test]
fn a_guest_has_no_more_memory_than_a_graphics_card() {
    let mut vm = Vm::new();
    let mut made = 0;
    while vm.says(0x101, &[made + 1, 2, 2048, 2048]) == OK {
        made += 1;
    }
    assert_eq!(made, 16);
    assert_eq!(vm.says(0x102, &[3, 0]), OK);
    assert_eq!(vm.says(0x101, &[99, 2, 2048, 2048]), OK);
    let mut vm = Vm::new();
    assert_eq!((1..5000).filter(|id| vm.says(0x101, &[*id, 2, 1, 1]) == OK).count(), 1024);
}

#[test]
fn a_reply_repeats_the_fence() {
    let mut vm = Vm::new();
    let mut flush = request(0x101, &[1, 2, 8, 8]);
    flush[4..20].copy_from_slice(&[1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0]);
    assert_eq!(vm.answer(&flush)[4..20], flush[4..20]);
    flush[4] = 0;
    assert_eq!(vm.answer(&flush)[4..20], [0; 16]);
}

#[test]
fn a_guest_finds_the_displays_that_there_are() {
    let outputs = Outputs::new([Some(Size::new(1024, 768)), Some(Size::new(640, 480)), None]);
    let mut device = Device::default();
    let memory = Memory::new(0);
    let reply = device.control(&request(0x100, &[]), &outputs, &memory).reply;
    let numbers: Vec<_> = reply.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n)).collect();
    assert_eq!((numbers[0], reply.len()), (0x1101, 408));
    assert_eq!(numbers[6..24], [0, 0, 1024, 768, 1, 0, 1024, 0, 640, 480, 1, 0, 0, 0, 0, 0, 0, 0]);
    let reply = device.control(&request(0x10a, &[1, 0]), &outputs, &memory).reply;
    assert_eq!((reply.len(), &reply[..4], &reply[24..28]), (1056, &[4, 0x11, 0, 0][..], &[128, 0, 0, 0][..]));
    assert_eq!(reply[32..40], [0, 255, 255, 255, 255, 255, 255, 0]);
}

#[test]
fn the_cursor_is_shown_where_the_guest_wants_it() {
    let mut vm = Vm::new();
    assert_eq!(vm.says(0x101, &[1, 2, 64, 64]), OK);
    assert_eq!(vm.says(0x106, &[1, 1, 0, 0, 64 * 64 * 4, 0]), OK);
    assert_eq!(vm.says(0x105, &[0, 0, 64, 64, 0, 0, 1, 0]), OK);
    let change = vm.points(0x300, &[0, 10, u32::MAX, 0, 1, 3, 4, 0]).unwrap();
    assert_eq!((change.pointer.x, change.pointer.y, change.pointer.visible), (10, -1, true));
    let shape = change.shape.unwrap();
    assert_eq!((shape.hot_spot(), &shape.pixels()[..]), ((3, 4), &vm.guest(0, 64 * 64 * 4)[..]));
    let moved = vm.points(0x301, &[0, 20, 30, 0, 1, 0, 0, 0]).unwrap();
    assert_eq!((moved.shape, moved.pointer.x, moved.pointer.visible), (None, 20, true));
    assert!(!vm.points(0x300, &[0, 0, 0, 0, 0, 0, 0, 0]).unwrap().pointer.visible);
    for wrong in [&[16, 0, 0, 0, 1, 0, 0, 0][..], &[0, 0, 0, 0, 9, 0, 0, 0], &[0, 0, 0, 0, 1, 0]] {
        assert!(vm.points(0x300, wrong).is_none(), "{wrong:?}");
    }
    assert!(vm.points(0x104, &[0; 8]).is_none());
}

#[test]
fn a_blob_is_shown_where_it_is() {
    let mut vm = Vm::new();
    // Two ranges of guest memory, the second before the first.
    let blob = [4, 1, 2, 2, 0, 0, 12_288, 0, 0x3000, 0, 4096, 0, 0x1000, 0, 8192, 0];
    assert_eq!(vm.says(0x10c, &blob), OK);
    let show = |scanout: u32, stride: u32, offset: u32| {
        [2, 1, 30, 20, scanout, 4, 40, 30, 2, 0, stride, 0, 0, 0, offset, 0, 0, 0]
    };
    assert_eq!(vm.says(0x10d, &show(0, 256, 64)), OK);
    let flat = [vm.guest(0x3000, 4096), vm.guest(0x1000, 8192)].concat();
    let row = |y: usize| &flat[64 + (y + 1) * 256 + 8..][..120];
    let expected: Vec<u8> = (0..20).flat_map(row).copied().collect();
    assert_eq!(vm.screen(0).unwrap(), (Size::new(30, 20), expected));
    assert_eq!(vm.says(0x105, &[0, 0, 40, 30, 0, 0, 4, 0]), OK, "Linux does that too");
    assert_eq!(vm.says(0x104, &[2, 1, 30, 5, 4, 0]), OK);
    assert_eq!(vm.damage, [(0, Rect::new(0, 0, 30, 5))]);
    for (stride, offset) in [(159, 0), (u32::MAX, 0), (256, u32::MAX), (256, 12_288), (500, 0)] {
        assert_eq!(vm.says(0x10d, &show(0, stride, offset)), PARAMETER, "{stride} {offset}");
    }
    assert_eq!(vm.says(0x103, &[0, 0, 8, 8, 0, 4]), NO_RESOURCE, "it has no size");
    // Memory that is not there.
    assert_eq!(vm.says(0x10c, &[5, 1, 2, 1, 0, 0, 4096, 0, 0, 1, 4096, 0]), OK);
    assert_eq!(vm.says(0x10d, &[0, 0, 8, 8, 0, 5, 8, 8, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0]), PARAMETER);
}

/// A command that a guest could send, from a small range of numbers, so that most make sense.
#[derive(Clone, Debug)]
enum Step {
    Create { id: u32, width: u32, height: u32 },
    Drop { id: u32 },
    Attach { id: u32, ranges: Vec<(u32, u32)> },
    Detach { id: u32 },
    Transfer { id: u32, part: [u32; 4], offset: u32 },
    Show { scanout: u32, id: u32, part: [u32; 4] },
    Draw { at: usize, bytes: Vec<u8> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (id, side) = (|| 1u32..4, || 1u32..20);
    let part = || (0u32..12, 0u32..12, 1u32..20, 1u32..20).prop_map(|(x, y, w, h)| [x, y, w, h]);
    let ranges = proptest::collection::vec((0u32..4096, 1u32..900), 1..6);
    let step = prop_oneof![
        (id(), side(), side()).prop_map(|(id, width, height)| Step::Create { id, width, height }),
        id().prop_map(|id| Step::Drop { id }),
        (id(), ranges).prop_map(|(id, ranges)| Step::Attach { id, ranges }),
        id().prop_map(|id| Step::Detach { id }),
        (id(), part(), 0u32..64).prop_map(|(id, part, offset)| Step::Transfer { id, part, offset }),
        (id(), part()).prop_map(|(id, part)| Step::Transfer {
            id,
            part: [0, part[1], 0, part[3]],
            offset: 0
        }),
        (0u32..3, 0u32..4, part()).prop_map(|(scanout, id, part)| Step::Show { scanout, id, part }),
        (0usize..4000, proptest::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(at, bytes)| Step::Draw { at, bytes }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The device as plainly as it can be said.
#[derive(Default)]
struct Model {
    guest: Vec<u8>,
    resources: BTreeMap<u32, Plain>,
    screens: BTreeMap<u32, (u32, [u32; 4])>,
}

struct Plain {
    width: u32,
    height: u32,
    pixels: BTreeMap<(u32, u32), [u8; 4]>,
    /// Each byte's guest address.
    backing: Option<Vec<usize>>,
}

impl Model {
    /// Returns whether the step makes sense.
    fn step(&mut self, step: &Step) -> bool {
        let inside = |[x, y, w, h]: [u32; 4], plain: &Plain| x + w <= plain.width && y + h <= plain.height;
        match step {
            Step::Create { id, width, height } => {
                let (pixels, backing) = (BTreeMap::new(), None);
                let new = !self.resources.contains_key(id);
                let plain = Plain { width: *width, height: *height, pixels, backing };
                self.resources.entry(*id).or_insert(plain);
                new
            }
            Step::Drop { id } => {
                let known = self.resources.remove(id).is_some();
                self.screens.retain(|_, (shown, _)| shown != id);
                known
            }
            Step::Attach { id, ranges } => match self.resources.get_mut(id) {
                Some(plain) if plain.backing.is_none() => {
                    let bytes = |&(at, len): &(u32, u32)| at as usize..(at + len) as usize;
                    plain.backing = Some(ranges.iter().flat_map(bytes).collect());
                    true
                }
                _ => false,
            },
            Step::Detach { id } => {
                self.resources.get_mut(id).is_some_and(|plain| plain.backing.take().is_some())
            }
            Step::Transfer { id, part, offset } => {
                let Some(plain) = self.resources.get_mut(id) else { return false };
                let Some(backing) = &plain.backing else { return false };
                let [x, y, w, h] = whole_rows(*part, plain.width);
                if !inside([x, y, w, h], plain) {
                    return false;
                }
                let place = |row: u32, column: u32| (offset + row * plain.width * 4 + column * 4) as usize;
                if place(h - 1, w) > backing.len() {
                    return false;
                }
                for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
                    let at = place(row, column);
                    let pixel = std::array::from_fn(|n| self.guest[backing[at + n]]);
                    plain.pixels.insert((x + column, y + row), pixel);
                }
                true
            }
            Step::Show { scanout, id: 0, .. } => {
                self.screens.remove(scanout);
                true
            }
            Step::Show { scanout, id, part } => match self.resources.get(id) {
                Some(plain) if inside(*part, plain) => {
                    self.screens.insert(*scanout, (*id, *part));
                    true
                }
                _ => false,
            },
            Step::Draw { at, bytes } => {
                self.guest[*at..at + bytes.len()].copy_from_slice(bytes);
                true
            }
        }
    }

    fn screen(&self, scanout: u32) -> Option<(Size, Vec<u8>)> {
        let (id, [x, y, w, h]) = *self.screens.get(&scanout)?;
        let plain = &self.resources[&id];
        let places = (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y)));
        let pixels = places.flat_map(|at| plain.pixels.get(&at).copied().unwrap_or_default());
        Some((Size::new(w, h), pixels.collect()))
    }
}

/// A part without columns of its own is as wide as the resource.
fn whole_rows([x, y, w, h]: [u32; 4], width: u32) -> [u32; 4] {
    if w == 0 { [x, y, width, h] } else { [x, y, w, h] }
}

proptest! {
    #[test]
    fn any_guest_sees_the_picture_that_a_plain_model_has(steps in steps()) {
        let mut vm = Vm::new();
        let mut model = Model { guest: vm.guest(0, 8192), ..Model::default() };
        let mut widths = BTreeMap::new();
        for step in &steps {
            let reply = match step {
                Step::Create { id, width, height } => {
                    let reply = vm.says(0x101, &[*id, 2, *width, *height]);
                    if reply == OK {
                        widths.insert(*id, *width);
                    }
                    reply
                }
                Step::Drop { id } => vm.says(0x102, &[*id, 0]),
                Step::Attach { id, ranges } => {
                    let entries = ranges.iter().flat_map(|(at, len)| [*at, 0, *len, 0]);
                    let numbers: Vec<_> = [*id, ranges.len() as u32].into_iter().chain(entries).collect();
                    vm.says(0x106, &numbers)
                }
                Step::Detach { id } => vm.says(0x107, &[*id, 0]),
                Step::Transfer { id, part, offset } => {
                    let [x, y, w, h] = whole_rows(*part, widths.get(id).copied().unwrap_or(1));
                    vm.says(0x105, &[x, y, w, h, *offset, 0, *id, 0])
                }
                Step::Show { scanout, id, part: [x, y, w, h] } => vm.says(0x103, &[*x, *y, *w, *h, *scanout, *id]),
                Step::Draw { at, bytes } => {
                    vm.memory.guest.borrow_mut()[*at..at + bytes.len()].copy_from_slice(bytes);
                    OK
                }
            };
            prop_assert_eq!(reply == OK, model.step(step), "{:?}: {:#x}", step, reply);
            for scanout in 0..3 {
                prop_assert_eq!(vm.screen(scanout), model.screen(scanout));
            }
        }
    }

    #[test]
    fn no_bytes_are_too_much(requests in proptest::collection::vec((0x100u32..0x110, proptest::collection::vec(
        prop_oneof![0u32..5, any::<u32>(), Just(u32::MAX)], 0..24)), 0..40)) {
        let mut vm = Vm::new();
        for (kind, numbers) in requests {
            vm.says(kind, &numbers);
            vm.points(kind + 0x200, &numbers);
        }
    }
}
