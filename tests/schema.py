#!/usr/bin/python3
"""Checks YAML files against the JSON Schema: schema.py SCHEMA FILE... Prints what is wrong; exit 1 if anything is."""
import json
import sys

import jsonschema
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
wrong = False
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    for error in validator.iter_errors(document):
        wrong = True
        print(f"{path}: {'.'.join(str(key) for key in error.path)}: {error.message[:200]}")
sys.exit(1 if wrong else 0)
