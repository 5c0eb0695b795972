"""Reads a template and evaluates its rules as CloudFormation does, without deploying anything."""

import yaml


def load(path):
    """The template, with the long form of every intrinsic function."""
    return yaml.load(path.read_text(), _Loader)


class _Loader(yaml.SafeLoader):
    pass


def _intrinsic(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def broken_rules(template, given):
    """The names of the rules that refuse these parameters; the others have their defaults."""
    values = {name: str(given.get(name, parameter.get("Default", "")))
              for name, parameter in template["Parameters"].items()}
    return [name for name, rule in template["Rules"].items()
            if _holds(rule.get("RuleCondition", True), values)
            and not all(_holds(entry["Assert"], values) for entry in rule["Assertions"])]


def _holds(node, values):
    if isinstance(node, bool):
        return node
    (function, arguments), = node.items()
    if function == "Fn::Not":
        return not _holds(arguments[0], values)
    if function == "Fn::And":
        return all(_holds(argument, values) for argument in arguments)
    if function == "Fn::Or":
        return any(_holds(argument, values) for argument in arguments)
    if function == "Fn::Equals":
        return _text(arguments[0], values) == _text(arguments[1], values)
    if function == "Fn::Contains":
        return _text(arguments[1], values) in arguments[0]
    raise ValueError(f"rules do not have {function}")


def _text(node, values):
    return values[node["Ref"]] if isinstance(node, dict) else node
