"""Writes table.rs: the floating-point type constraints of the standard operators, from the definitions in the onnx package.

    pip install onnx==1.23.2 && python generate.py > table.rs && rustfmt table.rs

A slot is written as a type variable (a digit, `.` where the type is fixed) and the float types that it takes: `-` none,
`s` float32, `h` float32 and float16, `b` float32, float16 and bfloat16, `x` float32 and bfloat16. A trailing `*` repeats
a slot with one type for all, `~` with a type of its own for each. Versions that change nothing are left out.
"""

import onnx
from onnx import defs

KINDS = {
    (False, False, False): "-",
    (True, False, False): "s",
    (True, True, False): "h",
    (True, True, True): "b",
    (True, False, True): "x",
}
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")


def signature(schema):
    constraints = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    variables = {}

    def slot(parameter):
        allowed = constraints.get(parameter.type_str, {parameter.type_str})
        kind = KINDS[tuple(f in allowed for f in FLOATS)]
        variable = "."
        if parameter.type_str in constraints:
            variable = str(variables.setdefault(parameter.type_str, len(variables)))
            assert len(variable) == 1, schema.name
        tail = ""
        if parameter.option == defs.OpSchema.FormalParameterOption.Variadic:
            tail = "*" if parameter.is_homogeneous else "~"
        return variable + kind + tail

    return " ".join(map(slot, schema.inputs)), " ".join(map(slot, schema.outputs))


def main():
    schemas = [s for s in defs.get_all_schemas_with_history() if s.domain in ("", "ai.onnx")]
    schemas.sort(key=lambda s: (s.name, s.since_version))
    print(f"//! Written by `generate.py` from onnx {onnx.__version__}, opset {defs.onnx_opset_version()}; not to be edited.")
    print()
    print("/// Operator, first opset, inputs, outputs. Sorted by operator and opset.")
    print("pub(super) const SIGNATURES: &[(&str, i64, &str, &str)] = &[")
    last = None
    for schema in schemas:
        row = (schema.name, *signature(schema))
        if row != last:
            print(f'("{schema.name}", {schema.since_version}, "{row[1]}", "{row[2]}"),')
        last = row
    print("];")


main()
