// Keys: from `KeyboardEvent.code`, the place on the keyboard, to the codes that a PC's keyboard sends (set 1).

const EXTENDED = 0xe0;
const RELEASED = 0x80;

/** Keys with a code of one byte. */
const PLAIN = {
  Escape: 0x01, Minus: 0x0c, Equal: 0x0d, Backspace: 0x0e, Tab: 0x0f, BracketLeft: 0x1a, BracketRight: 0x1b,
  Enter: 0x1c, ControlLeft: 0x1d, Semicolon: 0x27, Quote: 0x28, Backquote: 0x29, ShiftLeft: 0x2a, Backslash: 0x2b,
  Comma: 0x33, Period: 0x34, Slash: 0x35, ShiftRight: 0x36, NumpadMultiply: 0x37, AltLeft: 0x38, Space: 0x39,
  CapsLock: 0x3a, NumLock: 0x45, ScrollLock: 0x46, Numpad7: 0x47, Numpad8: 0x48, Numpad9: 0x49,
  NumpadSubtract: 0x4a, Numpad4: 0x4b, Numpad5: 0x4c, Numpad6: 0x4d, NumpadAdd: 0x4e, Numpad1: 0x4f, Numpad2: 0x50,
  Numpad3: 0x51, Numpad0: 0x52, NumpadDecimal: 0x53, IntlBackslash: 0x56, F11: 0x57, F12: 0x58, NumpadEqual: 0x59,
  F13: 0x5d, F14: 0x5e, F15: 0x5f, KanaMode: 0x70, Lang2: 0x71, Lang1: 0x72, IntlRo: 0x73, Convert: 0x79,
  NonConvert: 0x7b, IntlYen: 0x7d, NumpadComma: 0x7e,
};
/** Keys whose code has a byte in front. */
const WITH_PREFIX = {
  MediaTrackPrevious: 0x10, MediaTrackNext: 0x19, NumpadEnter: 0x1c, ControlRight: 0x1d, AudioVolumeMute: 0x20,
  LaunchApp2: 0x21, MediaPlayPause: 0x22, MediaStop: 0x24, AudioVolumeDown: 0x2e,
  AudioVolumeUp: 0x30, BrowserHome: 0x32, NumpadDivide: 0x35, PrintScreen: 0x37,
  AltRight: 0x38, Home: 0x47, ArrowUp: 0x48, PageUp: 0x49, ArrowLeft: 0x4b, ArrowRight: 0x4d, End: 0x4f,
  ArrowDown: 0x50, PageDown: 0x51, Insert: 0x52, Delete: 0x53, MetaLeft: 0x5b, MetaRight: 0x5c,
  ContextMenu: 0x5d, Power: 0x5e, Sleep: 0x5f, WakeUp: 0x63, BrowserSearch: 0x65,
  BrowserFavorites: 0x66, BrowserRefresh: 0x67, BrowserStop: 0x68, BrowserForward: 0x69, BrowserBack: 0x6a,
  LaunchApp1: 0x6b, LaunchMail: 0x6c, MediaSelect: 0x6d,
};
const row = (start, kind, keys) => keys.forEach((key, at) => { PLAIN[kind + key] = start + at; });
row(0x02, "Digit", [..."1234567890"]);
row(0x10, "Key", [..."QWERTYUIOP"]);
row(0x1e, "Key", [..."ASDFGHJKL"]);
row(0x2c, "Key", [..."ZXCVBNM"]);
row(0x3b, "F", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);

/** Returns the bytes that a keyboard sends for a key, or `null` if a PC's has no such key. */
export function scancode(code, isDown) {
  if (code === "Pause") return isDown ? [0xe1, 0x1d, 0x45] : [0xe1, 0x9d, 0xc5];
  const released = isDown ? 0 : RELEASED;
  if (Object.hasOwn(PLAIN, code)) return [PLAIN[code] | released];
  if (Object.hasOwn(WITH_PREFIX, code)) return [EXTENDED, WITH_PREFIX[code] | released];
  return null;
}
