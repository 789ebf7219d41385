//! Keeps the objects on a connection as the hub is.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use zbus::Connection;
use zbus::fdo::ObjectManager;

use super::Shared;
use super::display::{ConsoleObject, VmObject};
use super::input::{Keyboard, Mouse, MultiTouch};
use crate::display1::{ROOT, VM_PATH, console_path};
use crate::frame::{ConsoleId, ScanoutInfo, Size};
use crate::hub::{ConsoleInfo, Guest};

/// Makes the objects, calls `published`, and follows what changes until the connection breaks.
pub(super) async fn run(
    shared: &Arc<Shared>,
    connection: &Connection,
    published: impl AsyncFnOnce() -> zbus::Result<()>,
) -> zbus::Result<()> {
    let mut guest = shared.hub.guest();
    let mut objects = Objects {
        shared: shared.clone(),
        connection: connection.clone(),
        known: Guest::default(),
        consoles: BTreeMap::new(),
        watchers: JoinSet::new(),
    };
    let server = connection.object_server();
    server.at(ROOT, ObjectManager).await?;
    server.at(VM_PATH, VmObject { shared: shared.clone() }).await?;
    let now = guest.borrow_and_update().clone();
    objects.become_as(now).await?;
    published().await?;
    loop {
        tokio::select! {
            () = connection.closed() => return Ok(()),
            changed = guest.changed() => {
                if changed.is_err() {
                    return Ok(()); // the hub is gone
                }
                let now = guest.borrow_and_update().clone();
                objects.become_as(now).await?;
            }
            Some(Ok(id)) = objects.watchers.join_next() => objects.resized(id).await?,
        }
    }
}

struct Objects {
    shared: Arc<Shared>,
    connection: Connection,
    /// What was told of the guest.
    known: Guest,
    consoles: BTreeMap<ConsoleId, Watched>,
    /// One for each console; ends with its number when its size is not the one told.
    watchers: JoinSet<ConsoleId>,
}

struct Watched {
    /// The size that was told.
    size: Option<Size>,
    watcher: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Objects {
    async fn become_as(&mut self, now: Guest) -> zbus::Result<()> {
        let before = std::mem::replace(&mut self.known, now.clone());
        for id in before.consoles.keys().filter(|id| !now.consoles.contains_key(id)) {
            self.remove(*id).await?;
        }
        for (id, info) in &now.consoles {
            match before.consoles.get(id) {
                None => self.add(*id).await?,
                Some(known) => self.tell_console(*id, known, info, before.leds != now.leds).await?,
            }
        }
        self.tell_vm(&before, &now).await
    }

    async fn add(&mut self, id: ConsoleId) -> zbus::Result<()> {
        let (server, path, shared) = (self.connection.object_server(), console_path(id), &self.shared);
        server.at(&*path, ConsoleObject { shared: shared.clone(), id }).await?;
        server.at(&*path, Keyboard { shared: shared.clone() }).await?;
        server.at(&*path, Mouse { shared: shared.clone(), id }).await?;
        server.at(&*path, MultiTouch).await?;
        self.watch(id, None);
        Ok(())
    }

    async fn remove(&mut self, id: ConsoleId) -> zbus::Result<()> {
        let (server, path) = (self.connection.object_server(), console_path(id));
        self.consoles.remove(&id);
        server.remove::<ConsoleObject, _>(&*path).await?;
        server.remove::<Keyboard, _>(&*path).await?;
        server.remove::<Mouse, _>(&*path).await?;
        server.remove::<MultiTouch, _>(&*path).await?;
        Ok(())
    }

    async fn tell_vm(&self, before: &Guest, now: &Guest) -> zbus::Result<()> {
        let vm = self.connection.object_server().interface::<_, VmObject>(VM_PATH).await?;
        let (object, emitter) = (vm.get().await, vm.signal_emitter());
        if before.name != now.name {
            object.name_changed(emitter).await?;
        }
        if before.uuid != now.uuid {
            object.u_u_i_d_changed(emitter).await?;
        }
        if !before.consoles.keys().eq(now.consoles.keys()) {
            object.console_i_ds_changed(emitter).await?;
        }
        Ok(())
    }

    async fn tell_console(
        &self,
        id: ConsoleId,
        before: &ConsoleInfo,
        now: &ConsoleInfo,
        lights: bool,
    ) -> zbus::Result<()> {
        let (server, path) = (self.connection.object_server(), console_path(id));
        if before.label != now.label {
            let console = server.interface::<_, ConsoleObject>(&*path).await?;
            console.get().await.label_changed(console.signal_emitter()).await?;
        }
        if before.absolute != now.absolute {
            let mouse = server.interface::<_, Mouse>(&*path).await?;
            mouse.get().await.is_absolute_changed(mouse.signal_emitter()).await?;
        }
        if lights {
            let keyboard = server.interface::<_, Keyboard>(&*path).await?;
            keyboard.get().await.modifiers_changed(keyboard.signal_emitter()).await?;
        }
        Ok(())
    }

    /// Waits in the background until a console has another size than this one, which was told.
    fn watch(&mut self, id: ConsoleId, size: Option<Size>) {
        let Some(console) = self.shared.hub.console(id) else { return };
        let watcher = self.watchers.spawn(async move {
            let other = |info: &Option<ScanoutInfo>| info.map(|info| info.size) != size;
            if console.info().wait_for(other).await.is_err() {
                std::future::pending::<()>().await; // the console is held here
            }
            id
        });
        self.consoles.insert(id, Watched { size, watcher });
    }

    async fn resized(&mut self, id: ConsoleId) -> zbus::Result<()> {
        // A console that is gone is watched no longer.
        let Some(watched) = self.consoles.get(&id) else { return Ok(()) };
        let before = watched.size.unwrap_or_default();
        let size = self.shared.hub.console(id).and_then(|console| console.size());
        self.watch(id, size);
        let now = size.unwrap_or_default();
        let console = self.connection.object_server().interface::<_, ConsoleObject>(console_path(id)).await?;
        let (object, emitter) = (console.get().await, console.signal_emitter());
        if before.width != now.width {
            object.width_changed(emitter).await?;
        }
        if before.height != now.height {
            object.height_changed(emitter).await?;
        }
        Ok(())
    }
}
