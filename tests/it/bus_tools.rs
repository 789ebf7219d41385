//! What tools for D-Bus say.

use std::collections::BTreeMap;
use std::process::Command;

use crate::private_bus::PrivateBus;

/// What `busctl` sees of an object's interfaces of ours; nothing where it is not installed.
pub async fn by_busctl(bus: &PrivateBus, name: &str, path: &str) -> BTreeMap<String, Vec<String>> {
    let address = format!("--address={}", bus.address);
    let xml = tool("busctl", &["--xml-interface", &address, "introspect", name, path]).await;
    interfaces(&xml.unwrap_or_default())
}

/// What `gdbus` sees of them.
pub async fn by_gdbus(bus: &PrivateBus, name: &str, path: &str) -> BTreeMap<String, Vec<String>> {
    let asked = ["introspect", "--xml", "--address", &bus.address, "--dest", name, "--object-path", path];
    interfaces(&tool("gdbus", &asked).await.unwrap_or_default())
}

/// What a tool prints; `None` where it is not installed.
pub async fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    let (program, arguments) = (program.to_owned(), arguments.iter().map(|a| (*a).to_owned()));
    let mut command = Command::new(&program);
    command.args(arguments);
    match tokio::task::spawn_blocking(move || command.output()).await.unwrap() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {error}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("skipped: no {program} ({error})");
            None
        }
    }
}

/// Each interface of ours in some introspection, with its members as text: types, names, annotations, comments.
pub fn interfaces(xml: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut interface, mut comment) = (String::new(), String::new());
    for tag in xml.split('<').skip(1).filter(|tag| !tag.starts_with("!DOCTYPE")) {
        if let Some(text) = tag.strip_prefix("!--") {
            let text = text.split("-->").next().unwrap();
            comment = text.split_whitespace().collect::<Vec<_>>().join(" ");
            continue;
        }
        let text = tag.split('>').next().unwrap().trim_end_matches('/');
        let kind = text.split_whitespace().next().unwrap_or_default();
        let mut attributes: Vec<String> = text
            .split('"')
            .collect::<Vec<_>>()
            .chunks_exact(2)
            .map(|pair| format!("{}{}", pair[0].split_whitespace().last().unwrap(), pair[1]))
            .collect();
        attributes.sort();
        let line = format!("{kind} {}", attributes.join(" "));
        match kind {
            "interface" => interface = attributes[0].trim_start_matches("name=").to_owned(),
            "method" | "signal" | "property" => {
                let members = found.entry(interface.clone()).or_default();
                members.push(format!("{line} <!-- {} -->", std::mem::take(&mut comment)));
            }
            "arg" | "annotation" => {
                let member = found.get_mut(&interface).unwrap().last_mut().unwrap();
                *member += &format!(" / {line}");
            }
            _ => {}
        }
    }
    found.retain(|name, _| name.starts_with("org.qemu."));
    found.values_mut().for_each(|members| members.sort());
    found
}
