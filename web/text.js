// Text from on-screen keyboards and input methods: typed by the keys that a US keyboard has for it.

const SHIFTED = "~!@#$%^&*()_+{}|:\"<>?";
const PLAIN = "`1234567890-=[]\\;',./";
const NAMES = { "`": "Backquote", "-": "Minus", "=": "Equal", "[": "BracketLeft", "]": "BracketRight",
  "\\": "Backslash", ";": "Semicolon", "'": "Quote", ",": "Comma", ".": "Period", "/": "Slash", " ": "Space",
  "\n": "Enter", "\t": "Tab" };
/** What stands in the field, so that there is something to delete. */
const FILLER = "\u200b";

/** Returns the keys for a character, or `null` if there are none. */
export function keysOf(character) {
  const shifted = SHIFTED.indexOf(character);
  if (shifted >= 0) return ["ShiftLeft", ...keysOf(PLAIN[shifted]) ?? []];
  if (/^[a-z]$/.test(character)) return [`Key${character.toUpperCase()}`];
  if (/^[A-Z]$/.test(character)) return ["ShiftLeft", `Key${character}`];
  if (/^[0-9]$/.test(character)) return [`Digit${character}`];
  return Object.hasOwn(NAMES, character) ? [NAMES[character]] : null;
}

/** Types what comes into a `field` by `press`, which presses keys together. */
export function typeFrom(field, press) {
  const fill = () => { field.value = FILLER; };
  const take = () => {
    if (field.value === "") press(["Backspace"]);
    for (const character of field.value.replace(FILLER, "")) {
      const keys = keysOf(character);
      if (keys) press(keys);
    }
    fill();
  };
  field.addEventListener("focus", fill);
  field.addEventListener("input", (event) => { if (!event.isComposing) take(); });
  field.addEventListener("compositionend", take);
}
