#!/usr/bin/python3
"""Prints org.qemu.Spice1.xml as a man page (roff), for `scripts/package`.

The file is introspection data with a comment before each member, which says what the member is for.
"""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

XML = Path(__file__).with_name("org.qemu.Spice1.xml")
WORDS = {"method": "Methods", "signal": "Signals", "property": "Properties"}


def main():
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    text = XML.read_text()
    node = ElementTree.fromstring(text, parser)
    about = re.search(r"-->|<!--(.*?)-->", text, re.DOTALL).group(1)
    print(f'.TH ORG.QEMU.SPICE1 5 "" "qemu-spice {sys.argv[1]}"')
    print(".SH NAME\norg.qemu.Spice1 \\- the D\\-Bus interface of qemu\\-spice\n.SH DESCRIPTION")
    print(plain(about))
    comment = ""
    for child in node:
        if child.tag is ElementTree.Comment:
            comment = child.text
            continue
        print(f".SH {child.get('name')}")
        if comment:
            print(plain(comment))
        comment = ""
        members(child)
    print(".SH SEE ALSO\n.BR qemu\\-spice (1),\n.BR qemu\\-spice\\-status (1)")


def members(interface):
    """Prints the methods, signals and properties of an interface, in this order."""
    found, comment = {tag: [] for tag in WORDS}, ""
    for child in interface:
        if child.tag is ElementTree.Comment:
            comment = child.text
        else:
            found[child.tag].append((child, comment))
            comment = ""
    for tag, children in found.items():
        if children:
            print(f".SS {WORDS[tag]}")
        for child, comment in children:
            print(f".TP\n{signature(child)}\n{plain(comment)}")


def signature(member):
    """The member as one line: `Name(s password, s connected) → (u invitation)`."""
    name = f"\\fB{escaped(member.get('name'))}\\fR"
    if member.tag == "property":
        return f"{name} ({member.get('type')}, {'writable' if 'write' in member.get('access') else 'read only'})"
    arguments = {"in": [], "out": []}
    for argument in member.iter("arg"):
        way = argument.get("direction", "in" if member.tag == "method" else "out")
        arguments[way].append(f"{argument.get('type')} \\fI{escaped(argument.get('name'))}\\fR")
    if member.tag == "signal":
        return f"{name}({', '.join(arguments['out'])})"
    answer = f" \\(-> ({', '.join(arguments['out'])})" if arguments["out"] else ""
    return f"{name}({', '.join(arguments['in'])}){answer}"


def plain(comment):
    """The words of a comment, none of them taken for a request of roff."""
    words = escaped(" ".join(comment.split()))
    return words if words[:1] not in (".", "'") else "\\&" + words


def escaped(text):
    return text.replace("\\", "\\e").replace("-", "\\-")


main()
