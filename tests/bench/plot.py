"""Plots as SVG: bars side by side, and lines. Each value is a median with the lowest and highest run as a whisker."""

import math
from html import escape

COLOURS = ["#2a6fbb", "#d1722a", "#6a9a3b", "#8a5fa8"]
WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 74, 52


class Plot:
    def __init__(self, title, unit, high, low=0.0, logarithmic=False):
        self.logarithmic = logarithmic
        self.low = 10 ** math.floor(math.log10(low)) if logarithmic else 0.0
        self.high = 10 ** math.ceil(math.log10(high) - 1e-9) if logarithmic else nice(high)
        self.parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
        self.text(LEFT - 50, 24, title, size=16, weight="bold")
        self.text(LEFT - 50, TOP - 10, unit + (", logarithmic scale" if logarithmic else ""), size=12, colour="#555555")
        for value in self.ticks():
            y = self.y(value)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
            self.text(LEFT - 8, y + 4, number(value), anchor="end", size=12)

    def ticks(self):
        if self.logarithmic:
            steps = round(math.log10(self.high / self.low))
            return [self.low * 10**n for n in range(steps + 1)]
        return [self.high * n / 5 for n in range(6)]

    def y(self, value):
        if self.logarithmic:
            part = math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        else:
            part = value / self.high
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, words, anchor="start", size=13, colour="#222222", weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>')

    def legend(self, names):
        x = LEFT
        for name, colour in zip(names, COLOURS):
            self.parts.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{colour}"/>')
            self.text(x + 18, 47, name)
            x += 34 + 7.5 * len(name)

    def whisker(self, x, value):
        if value["high"] > value["low"]:
            low, high = self.y(value["low"]), self.y(value["high"])
            self.parts.append(f'<path d="M{x - 4:.1f} {low:.1f}h8M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {high:.1f}h8" stroke="#222222" fill="none"/>')

    def line_at(self, value, words):
        """A line across, such as a target."""
        y = self.y(value)
        self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#aa2222" stroke-dasharray="6 4"/>')
        self.text(WIDTH - RIGHT, y - 5, words, anchor="end", size=12, colour="#aa2222")

    def write(self, path):
        body = "\n".join(self.parts)
        path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
                        f'font-family="sans-serif">\n{body}\n</svg>\n')


def bars(path, title, unit, groups, names, values, logarithmic=False, target=None):
    """`values[name][group]` is a summary, or None where there is nothing to show."""
    there = [value for named in values.values() for value in named.values() if value]
    plot = Plot(title, unit, max([value["high"] for value in there] + ([target[0]] if target else [])),
                min(value["low"] for value in there), logarithmic)
    plot.legend(names)
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    wide = room * 0.8 / len(names)
    for place, group in enumerate(groups):
        begin = LEFT + room * (place + 0.1)
        plot.text(begin + room * 0.4, HEIGHT - BOTTOM + 20, group, anchor="middle")
        for index, name in enumerate(names):
            value = values.get(name, {}).get(group)
            x = begin + wide * index
            if not value:
                plot.text(x + wide / 2, HEIGHT - BOTTOM - 6, "–", anchor="middle")
                continue
            y = plot.y(value["median"])
            plot.parts.append(f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{wide - 4:.1f}" height="{max(0.5, HEIGHT - BOTTOM - y):.1f}" fill="{COLOURS[index]}"/>')
            plot.whisker(x + wide / 2, value)
            plot.text(x + wide / 2, plot.y(value["high"]) - 6, number(value["median"]), anchor="middle", size=11)
    if target:
        plot.line_at(*target)
    plot.write(path)


def lines(path, title, unit, groups, names, values, below):
    """The same, the groups being steps from left to right."""
    there = [value for named in values.values() for value in named.values() if value]
    plot = Plot(title, unit, max(value["high"] for value in there))
    plot.legend(names)
    step = (WIDTH - LEFT - RIGHT - 80) / max(1, len(groups) - 1)
    for index, name in enumerate(names):
        points = [(LEFT + 40 + step * place, values[name][group]) for place, group in enumerate(groups) if values.get(name, {}).get(group)]
        route = " ".join(f"{x:.1f},{plot.y(value['median']):.1f}" for x, value in points)
        plot.parts.append(f'<polyline points="{route}" fill="none" stroke="{COLOURS[index]}" stroke-width="2.5"/>')
        for x, value in points:
            plot.whisker(x, value)
            plot.parts.append(f'<circle cx="{x:.1f}" cy="{plot.y(value["median"]):.1f}" r="4" fill="{COLOURS[index]}"/>')
            # Names of lines that begin together would be written over each other.
            plot.text(x + 8, plot.y(value["median"]) + (16 if index == 0 else -8), number(value["median"]), size=11)
    for place, group in enumerate(groups):
        plot.text(LEFT + 40 + step * place, HEIGHT - BOTTOM + 20, group, anchor="middle")
    plot.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, below, anchor="middle", size=12, colour="#555555")
    plot.write(path)


def nice(value):
    """A round number not under this one."""
    size = 10 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if size * step >= value * 1.05 or step == 10)


def number(value):
    """A number as people write it: three digits, none of them empty."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 3)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
