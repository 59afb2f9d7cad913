"""Inputs of a target as a text, one a line, written as failures print them: `unpack FILE FOLDER` makes a file of each line,
`pack FOLDER FILE BYTES` a line of each file, the shortest first, until there are so many bytes."""
import codecs
import hashlib
import os
import sys

PLAIN = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}


def escaped(data):
    return "".join(PLAIN.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)


def unpack(file, folder):
    os.makedirs(folder, exist_ok=True)
    with open(file, encoding="ascii") as lines:
        for line in lines:
            data, _ = codecs.escape_decode(line.rstrip("\n"))
            with open(os.path.join(folder, hashlib.sha256(data).hexdigest()[:32]), "wb") as out:
                out.write(data)


def pack(folder, file, most):
    lines = set()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as one:
            lines.add(escaped(one.read()))
    kept, size = [], 0
    for line in sorted(lines, key=lambda line: (len(line), line)):
        size += len(line) + 1
        if size > int(most):
            break
        kept.append(line)
    with open(file, "w", encoding="ascii") as out:
        out.writelines(line + "\n" for line in sorted(kept))


if __name__ == "__main__":
    {"unpack": unpack, "pack": pack}[sys.argv[1]](*sys.argv[2:])
