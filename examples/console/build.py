"""A build that builds nothing, with what makes output hard to show: colours, progress in place, two streams, an exit code."""

import sys
import time

GREEN, YELLOW, RED, END = "\x1b[1;32m", "\x1b[33m", "\x1b[38;5;196m", "\x1b[0m"
FILES = [f"src/part_{number:02}.c" for number in range(1, 21)]

print(f"\x1b]0;Building\x07{GREEN}==>{END} Compiling {len(FILES)} files")
for number, file in enumerate(FILES, 1):
    print(f"[{number:2}/{len(FILES)}] {file}")
    if number % 7 == 0:
        print(f"{YELLOW}warning:{END} {file}: naïve façade is never used", file=sys.stderr)
    time.sleep(0.2)
if "--broken" in sys.argv:
    print(f"{RED}error:{END} the parts don't fit together", file=sys.stderr)
    sys.exit(2)
print(f"{GREEN}==>{END} Done ✓")
