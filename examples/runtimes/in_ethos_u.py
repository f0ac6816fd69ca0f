"""A bundle's file compiled by Vela for Arm Ethos-U; cycles and memory are Vela's estimate.

deployq export ... --target ethos-u55-256 --runtime ethos-u -o BUNDLE
python examples/runtimes/in_ethos_u.py BUNDLE ethos-u55-256
"""

import csv
import sys
import tempfile
from pathlib import Path

from ethosu.vela.vela import main

file, accelerator = str(Path(sys.argv[1]) / "model.tflite"), sys.argv[2]
with tempfile.TemporaryDirectory() as folder:
    main([file, "--accelerator-config", accelerator, "--output-dir", folder])
    (table,) = Path(folder).glob("*_summary_*.csv")
    (row,) = csv.DictReader(table.open())
print("cycles", row["cycles_total"])
for memory in ("sram", "dram", "on_chip_flash", "off_chip_flash"):
    print(memory, row[f"{memory}_memory_used"], "KiB")
