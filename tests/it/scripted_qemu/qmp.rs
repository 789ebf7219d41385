//! QMP, as far as it takes to hand over a socket.

use serde_json::json;

use super::*;

/// Speaks as much QMP as it takes to hand over a socket.
pub(super) fn listen_qmp(listener: UnixListener, shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = speak_qmp(stream, &shared).await;
        }
    })
}

async fn speak_qmp(stream: UnixStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let say = async |line: &str| {
        stream.writable().await?;
        stream.try_write(format!("{line}\r\n").as_bytes())
    };
    say(r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}}, "capabilities": []}}"#)
        .await?;
    let mut handed = None;
    loop {
        let mut line = [0; 4096];
        let mut fds = Vec::new();
        let read = stream.async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let read =
                recvmsg(&stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            Ok(read.bytes)
        });
        let read = read.await?;
        if read == 0 {
            return Ok(());
        }
        let command: serde_json::Value = serde_json::from_slice(&line[..read])?;
        handed = fds.pop().or(handed);
        // QEMU tells of events whenever they happen.
        say(r#"{"event": "RTC_CHANGE", "data": {"offset": 0}}"#).await?;
        if command["execute"] == "add_client" {
            if shared.vm.refuses_qmp || command["arguments"]["protocol"] != "@dbus-display" {
                say(r#"{"error": {"class": "GenericError", "desc": "D-Bus display is not in p2p mode"}}"#)
                    .await?;
                continue;
            }
            tokio::spawn(serve(shared.clone(), handed.take().expect("no fd came with getfd")));
        }
        let answer = match command["execute"].as_str() {
            Some("query-display-options") if shared.vm.gl => json!({"type": "dbus", "p2p": true, "gl": "on"}),
            Some("query-display-options") => json!({"type": "dbus", "p2p": true}),
            Some("qom-list") => {
                assert_eq!(command["arguments"]["path"], "/machine/peripheral");
                let device = |(id, kind): &(_, &str)| json!({"name": id, "type": format!("child<{kind}>")});
                shared.vm.devices.iter().map(device).collect()
            }
            _ => json!({}),
        };
        say(&json!({ "return": answer }).to_string()).await?;
    }
}
