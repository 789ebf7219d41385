//! One virtqueue: requests as bytes, and their answers.

use std::io::{Read, Write};
use std::ops::Deref;
use std::sync::atomic::Ordering;

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::GuestAddressSpace;

use super::gpu::MAX_REQUEST;
use super::pixels::{GuestMemory, Snapshot};

/// A virtqueue as the crate keeps it.
pub(super) type Vring = VringMutex<GuestMemory>;

/// A request that waits for its answer.
pub(super) struct Request {
    chain: DescriptorChain<Snapshot>,
    /// What the guest wrote, or nothing if its descriptors make no sense.
    pub(super) bytes: Vec<u8>,
}

/// The guest broke the queue: its indices or addresses make no sense.
#[derive(Debug)]
pub(super) struct Broken;

/// Returns whether requests may be taken from `vring`: it is started and enabled.
pub(super) fn is_running(vring: &Vring) -> bool {
    let state = vring.get_ref();
    state.get_queue().ready() && state.is_enabled()
}

/// Takes the next request.
///
/// # Errors
/// If the queue is broken.
pub(super) fn take(vring: &Vring, memory: &Snapshot) -> Result<Option<Request>, Broken> {
    let mut state = vring.get_mut();
    let mut chains = state.get_queue_mut().iter(memory.clone()).map_err(|_| Broken)?;
    let Some(chain) = chains.next() else { return Ok(None) };
    let bytes = read(&chain, memory).unwrap_or_default();
    Ok(Some(Request { chain, bytes }))
}

/// Reads what the guest wrote, as far as a command can go.
fn read(chain: &DescriptorChain<Snapshot>, memory: &Snapshot) -> Option<Vec<u8>> {
    let mut reader = chain.clone().reader(memory).ok()?;
    let mut bytes = vec![0; reader.available_bytes().min(MAX_REQUEST)];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

impl Request {
    /// Gives the request back to the guest, with as much of `reply` as it has room for.
    ///
    /// # Errors
    /// If the queue is broken.
    pub(super) fn answer(self, reply: &[u8], vring: &Vring, memory: &Snapshot) -> Result<(), Broken> {
        let head = self.chain.head_index();
        let written = self.chain.writer(memory).ok().and_then(|mut writer| {
            let room = writer.available_bytes().min(reply.len());
            writer.write_all(reply.get(..room)?).ok()?;
            u32::try_from(room).ok()
        });
        vring.add_used(head, written.unwrap_or(0)).map_err(|_| Broken)?;
        if vring.needs_notification().map_err(|_| Broken)? {
            // A VMM that is gone takes no notification.
            let _ = vring.signal_used_queue();
        }
        Ok(())
    }
}

/// Gives a group of events to the guest, one in each buffer that it has put into the queue. Returns false, and gives
/// none, while there are too few buffers. Events for a queue that is not started, or too
/// small for them, are dropped.
///
/// INVARIANT: the queue is locked all the time, so a queue that was stopped gets nothing.
///
/// # Errors
/// If the queue is broken.
pub(super) fn push(vring: &Vring, memory: &Snapshot, group: &[[u8; 8]]) -> Result<bool, Broken> {
    let mut state = vring.get_mut();
    let fits = group.len() <= usize::from(state.get_queue().size());
    if group.is_empty() || !fits || !state.get_queue().ready() || !state.is_enabled() {
        return Ok(true);
    }
    // Asked for before looking, so that no room is missed.
    state.enable_notification().map_err(|_| Broken)?;
    let last = state.get_queue().avail_idx(memory.deref(), Ordering::Acquire).map_err(|_| Broken)?;
    let room = last.0.wrapping_sub(state.get_queue().next_avail());
    if usize::from(room) < group.len() {
        return Ok(false);
    }
    for event in group {
        let chain = state.get_queue_mut().iter(memory.clone()).map_err(|_| Broken)?.next().ok_or(Broken)?;
        let head = chain.head_index();
        let written = chain.writer(memory).ok().and_then(|mut to| to.write_all(event).ok());
        state.add_used(head, if written.is_some() { 8 } else { 0 }).map_err(|_| Broken)?;
    }
    if state.needs_notification().map_err(|_| Broken)? {
        let _ = state.signal_used_queue();
    }
    Ok(true)
}

/// Has the guest notify again. Returns whether requests came meanwhile.
///
/// # Errors
/// If the queue is broken.
pub(super) fn rest(vring: &Vring) -> Result<bool, Broken> {
    vring.enable_notification().map_err(|_| Broken)
}

/// Has the guest stop to notify while its requests are carried out anyway.
///
/// # Errors
/// If the queue is broken.
pub(super) fn wake(vring: &Vring) -> Result<(), Broken> {
    vring.disable_notification().map_err(|_| Broken)
}

/// Returns the guest's memory as it is now.
pub(super) fn snapshot(memory: &GuestMemory) -> Snapshot {
    memory.memory()
}
