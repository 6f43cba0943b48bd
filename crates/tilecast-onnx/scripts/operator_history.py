"""Prints the table of src/opset/history.rs: in which opsets each operator of the default domain got a new version.

Usage: python operator_history.py > table.txt, with the `onnx` package of the wanted release installed. Paste the lines
into the table. Every version above the old REVIEWED_OPSET then needs a look at the specification: where the meaning of
an existing model changes, it needs a rule in src/opset/rules.rs.
"""

from collections import defaultdict

from onnx import defs

versions = defaultdict(set)
for schema in defs.get_all_schemas_with_history():
    if schema.domain == "":
        versions[schema.name].add(schema.since_version)
for name in sorted(versions):
    print(f'    ("{name}", &{sorted(versions[name])}),')
