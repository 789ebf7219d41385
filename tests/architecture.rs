//! Holds the folders of `src` and the crates to what `ARCHITECTURE.md` says of them: who may use whom, where `unsafe`
//! may stand, and which parts have no I/O and no clock.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder or file directly in `src`, and which of the others and of our own crates it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("sandbox", &["sys"]),
    ("sound", &[]),
    ("frame", &["sys"]),
    ("hub", &["frame", "sound"]),
    ("display1", &["frame", "sound", "sys"]),
    ("libvirt", &[]),
    ("source", &["display1", "frame", "hub", "libvirt", "sound", "sys"]),
    ("encode", &["frame", "hub", "sound", "sys"]),
    ("viewer", &["frame", "hub", "encode", "sys"]),
    ("page", &[]),
    ("transport", &["page", "sys"]),
    ("spice", &["frame", "hub", "sound", "viewer", "encode", "transport", "spice_proto"]),
    ("relay", &["display1", "frame", "hub", "viewer"]),
    ("admin", &["encode", "frame", "hub", "viewer", "relay", "spice", "sys", "transport", "publish"]),
    ("publish", &["encode", "frame", "hub", "viewer"]),
    ("cli", &["publish", "transport", "encode", "spice", "spice_proto"]),
    (
        "app",
        &[
            "admin",
            "cli",
            "encode",
            "frame",
            "hub",
            "libvirt",
            "publish",
            "relay",
            "sandbox",
            "source",
            "spice",
            "sys",
            "transport",
            "viewer",
        ],
    ),
    (
        "internals",
        &[
            "admin",
            "encode",
            "frame",
            "hub",
            "libvirt",
            "publish",
            "relay",
            "source",
            "spice",
            "sys",
            "transport",
            "viewer",
        ],
    ),
    ("lib", &[]),
    ("main", &["app", "cli"]),
];

/// The same for `crates/spice-proto`.
const PROTO_MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("auth", &[]),
    ("agent", &["wire"]),
    ("link", &["auth", "wire"]),
    ("channels", &["agent", "wire"]),
    ("lib", &[]),
];

/// Parts that take what happened and the time as arguments, and give back what to do.
const PURE: &[&str] = &[
    "crates/spice-proto/src",
    "src/spice/back_off.rs",
    "src/spice/exact_images.rs",
    "src/spice/lobby.rs",
    "src/spice/places_by_owner.rs",
    "src/spice/windows.rs",
    "src/display1/names.rs",
    "src/display1/refusal.rs",
    "src/frame/command.rs",
    "src/frame/cursor.rs",
    "src/frame/format.rs",
    "src/frame/changed_rows.rs",
    "src/frame/motion",
    "src/frame/pixel_budget.rs",
    "src/frame/placement.rs",
    "src/frame/region.rs",
    "src/frame/damage_filter.rs",
    "src/frame/tier.rs",
    "src/sandbox/needs.rs",
    "src/sound",
    "src/hub/guest.rs",
    "src/hub/mailbox.rs",
    "src/hub/release.rs",
    "src/libvirt",
    "src/viewer/decide.rs",
    "src/viewer/network.rs",
    "src/viewer/rate",
    "src/viewer/refused.rs",
    "src/viewer/roster.rs",
    "src/viewer/sharpen.rs",
    "src/viewer/tiers.rs",
    "src/viewer/feed/output.rs",
    "src/encode/codec",
    "src/encode/picture.rs",
    "src/encode/schedule.rs",
    "src/encode/console_picture.rs",
    "src/source/vhost_user/gpu",
    "src/source/vhost_user/messages.rs",
    "src/source/dbus/disable.rs",
    "src/source/dbus/known_buffers.rs",
    "src/source/dbus/lost_flips/guesses.rs",
    "src/source/dbus/lost_flips/mod.rs",
    "src/source/dbus/lost_flips/replay.rs",
    "src/source/moves.rs",
    "src/publish/matroska.rs",
    "src/source/warning_limit.rs",
    "src/relay/listener_state.rs",
    "src/relay/peers.rs",
];

/// What a pure part does not touch. `std::time::Instant` as an argument is fine, asking for it is not.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::net",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "rustix::",
    "libc::",
    "crate::sys",
    "zbus::",
    "gstreamer::",
];

/// The longest line in columns, comments included. `rustfmt` breaks code earlier.
const MAX_COLUMNS: usize = 120;

/// The longest file in lines, tests included.
const MAX_LINES: usize = 600;

#[test]
fn no_folder_uses_one_it_may_not() {
    let mut wrong = Vec::new();
    for (root, may_use) in [("src", MAY_USE), ("crates/spice-proto/src", PROTO_MAY_USE)] {
        for (path, code) in sources(&[root]) {
            let owner = owner(&path, root);
            let Some((_, allowed)) = may_use.iter().find(|(name, _)| *name == owner) else {
                wrong.push(format!("{}: `{owner}` has no row in the table", path.display()));
                continue;
            };
            for used in uses(&code) {
                if used != owner && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}: `{owner}` may not use `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_parts_have_no_io_and_no_clock() {
    let mut wrong = Vec::new();
    for (path, code) in sources(&["src", "crates"]) {
        if PURE.iter().any(|pure| path.starts_with(pure)) && !path.ends_with("tests.rs") {
            // What the kernel said of a connection is a plain value.
            let code = without_tests(&code).replace("crate::sys::TcpState", "");
            let found = IMPURE.iter().filter(|word| code.contains(*word));
            wrong.extend(found.map(|word| format!("{}: `{word}`", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for pure in PURE {
        assert!(Path::new(pure).exists(), "{pure} is listed as pure and does not exist");
    }
}

#[test]
fn unsafe_stands_in_sys_alone() {
    let wrong: Vec<_> = sources(&["src", "crates"])
        .into_iter()
        .filter(|(path, _)| !path.starts_with("src/sys"))
        .filter(|(_, code)| {
            code.contains("unsafe {") || code.contains("unsafe_code)]") || code.contains("unsafe fn")
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_line_and_no_file_is_too_long() {
    let mut wrong = Vec::new();
    for path in rust_files(&["src", "crates", "tests"]) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
        let long = (1..).zip(text.lines()).filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
        wrong.extend(long.map(|(number, _)| format!("{}:{number}: too long", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The page's files, which have the same limits.
#[test]
fn no_line_and_no_file_of_the_page_is_too_long() {
    let mut wrong = Vec::new();
    let folders = ["web", "web/tests"].into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    for path in folders.map(|entry| entry.unwrap().path()) {
        let ends = ["js", "css", "html"];
        if path.extension().is_some_and(|end| ends.iter().any(|known| end == *known)) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            if lines > MAX_LINES {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
            let long = (1..).zip(text.lines()).filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
            wrong.extend(long.map(|(number, _)| format!("{}:{number}: too long", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_says_what_it_is_for() {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    for entry in fs::read_dir("src").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("`{name}")), "ARCHITECTURE.md does not mention `{name}`");
    }
}

/// Reads every Rust file under these folders, and takes comments out.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let code = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or(line));
        (path, code.collect::<Vec<_>>().join("\n"))
    };
    rust_files(folders).into_iter().map(code).collect()
}

/// Finds every Rust file under these folders, but for what was built there.
fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut folders: Vec<_> = folders.iter().map(PathBuf::from).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "run from the root of the project");
    files
}

/// The folder or file directly in `root` that a path belongs to.
fn owner(path: &Path, root: &str) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules of this crate that some code names by `crate::`, and our own crates that it names.
fn uses(code: &str) -> BTreeSet<String> {
    let code = code.replace("qemu_spice::", "crate::");
    let mut used = BTreeSet::new();
    if code.contains("spice_proto::") {
        used.insert("spice_proto".to_owned());
    }
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or(list).split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                used.insert(name);
            }
        }
    }
    used
}

/// Code up to its tests, which may sleep and ask for the time.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or(code)
}
