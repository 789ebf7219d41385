//! The objects of `org.qemu.Display1`.

use super::*;

/// Serves one control connection.
pub(super) async fn serve(shared: Arc<Shared>, socket: OwnedFd) {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true).unwrap();
    let vm = shared.vm.clone();
    let mut builder = Builder::unix_stream(UnixStream::from_std(stream).unwrap())
        .server(Guid::generate())
        .unwrap()
        .p2p()
        .serve_at(ROOT, ObjectManager)
        .unwrap()
        .serve_at(format!("{ROOT}/VM"), VmObject(vm.clone()))
        .unwrap();
    for &(console, kind) in &vm.consoles {
        let path = format!("{ROOT}/Console_{console}");
        builder = builder
            .serve_at(path.clone(), ConsoleObject { console, kind, shared: shared.clone() })
            .unwrap()
            .serve_at(path.clone(), Keyboard(shared.clone()))
            .unwrap()
            .serve_at(path, Mouse(shared.clone()))
            .unwrap();
    }
    if let Ok(connection) = builder.build().await {
        *shared.control.lock().unwrap() = Some(connection);
    }
}

struct VmObject(Vm);

#[interface(name = "org.qemu.Display1.VM")]
impl VmObject {
    #[zbus(property)]
    fn name(&self) -> &str {
        self.0.name
    }

    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> &str {
        "00112233-4455-6677-8899-aabbccddeeff"
    }

    #[zbus(property, name = "ConsoleIDs")]
    fn console_ids(&self) -> Vec<u32> {
        self.0.consoles.iter().map(|console| console.0).collect()
    }
}

struct ConsoleObject {
    console: u32,
    kind: &'static str,
    shared: Arc<Shared>,
}

#[interface(name = "org.qemu.Display1.Console")]
impl ConsoleObject {
    /// As QEMU: answers first, then is the server on the new socket, and asks for the listener's interfaces.
    async fn register_listener(&self, socket: zvariant::OwnedFd) {
        let (shared, console) = (self.shared.clone(), self.console);
        let again = self.shared.listeners.fetch_add(1, Ordering::Relaxed) > 0;
        tokio::spawn(async move {
            if let Some(late) = shared.vm.shows_again_late.filter(|_| again) {
                tokio::time::sleep(late).await;
            }
            let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(socket));
            stream.set_nonblocking(true).unwrap();
            let stream = UnixStream::from_std(stream).unwrap();
            let builder = Builder::unix_stream(stream).server(Guid::generate()).unwrap().p2p();
            // As GDBus: it takes answers off the socket, however many calls are still to be sent.
            let connection = builder.max_queued(4096).build().await.unwrap();
            let mut screen = Screen::new(console, connection);
            if !shared.vm.old {
                let properties = "org.freedesktop.DBus.Properties";
                let all = screen.ask(properties, "GetAll", &LISTENER).await.unwrap();
                let all: HashMap<String, zvariant::OwnedValue> = all.body().deserialize().unwrap();
                screen.interfaces = all["Interfaces"].clone().try_into().unwrap();
                for interface in &screen.interfaces {
                    screen.call(properties, "GetAll", interface).await.unwrap();
                }
            }
            let _ = shared.screens.send(screen);
        });
        if let Some(late) = self.shared.vm.answers_late {
            tokio::time::sleep(late).await;
        }
    }

    #[zbus(name = "SetUIInfo")]
    async fn set_ui_info(&self, width_mm: u16, height_mm: u16, x: i32, y: i32, width: u32, height: u32) {
        self.shared.carry_out(Input::Window([width_mm, height_mm], [x, y], [width, height])).await;
    }

    #[zbus(property)]
    fn label(&self) -> &str {
        let labels = &self.shared.vm.labels;
        labels.iter().find(|(console, _)| *console == self.console).map_or("scripted", |(_, label)| label)
    }

    #[zbus(property, name = "Type")]
    fn kind(&self) -> &str {
        self.kind
    }
}

impl Shared {
    async fn carry_out(&self, input: Input) {
        let _able = self.busy.lock().await;
        let _ = self.input.send(input);
    }
}

struct Keyboard(Arc<Shared>);

#[interface(name = "org.qemu.Display1.Keyboard", spawn = false)]
impl Keyboard {
    async fn press(&self, key: u32) {
        self.0.carry_out(Input::Key(key, true)).await;
    }

    async fn release(&self, key: u32) {
        self.0.carry_out(Input::Key(key, false)).await;
    }

    #[zbus(property)]
    fn modifiers(&self) -> u32 {
        0
    }
}

struct Mouse(Arc<Shared>);

#[interface(name = "org.qemu.Display1.Mouse", spawn = false)]
impl Mouse {
    async fn press(&self, button: u32) {
        self.0.carry_out(Input::Button(button, true)).await;
    }

    async fn release(&self, button: u32) {
        self.0.carry_out(Input::Button(button, false)).await;
    }

    async fn set_abs_position(&self, x: u32, y: u32) {
        self.0.carry_out(Input::Position(x, y)).await;
    }

    async fn rel_motion(&self, dx: i32, dy: i32) {
        self.0.carry_out(Input::Motion(dx, dy)).await;
    }

    #[zbus(property)]
    fn is_absolute(&self) -> bool {
        self.0.vm.absolute
    }
}
