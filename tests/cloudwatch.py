"""Evaluates alarms of the template over a timeline of data points: the part of CloudWatch's behaviour that they
rely on ("Alarm evaluation", "Configuring how CloudWatch alarms treat missing data" and "Metric math syntax and
functions" in the CloudWatch user guide).
"""

import ast
import operator
from dataclasses import dataclass

COMPARISONS = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}
STATISTICS = {"Sum": sum, "Maximum": max}


@dataclass(frozen=True)
class Point:
    """A data point: the minute of its timestamp, and how many minutes later it arrives."""
    metric: str
    at: int
    value: float
    late: int = 0
    of: str = ""


def messages(alarm, points, minutes, aligned):
    """The minutes at which the alarm sends a message, and the state that it then has. Evaluated every minute, over
    periods that end at full periods (`aligned`) or at the minute itself: CloudWatch documents neither."""
    sent, state = [], "INSUFFICIENT_DATA"
    watched = {name: (minutes_of(metric, points), period, STATISTICS[statistic])
               for name, metric, period, statistic in metrics(alarm)}
    for now in range(minutes):
        new = evaluate(alarm, watched, now, state, aligned)
        if new != state:
            actions = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}
            if alarm.get(actions[new]):
                sent.append((now, new))
        state = new
    return sent


def metrics(alarm):
    """The metrics that the alarm watches: id, metric, period in minutes, statistic."""
    if "Metrics" not in alarm:
        return [("", alarm, alarm["Period"] // 60, alarm["Statistic"])]
    stats = {entry["Id"]: entry["MetricStat"] for entry in alarm["Metrics"] if "MetricStat" in entry}
    return [(name, stat["Metric"], stat["Period"] // 60, stat["Stat"]) for name, stat in stats.items()]


def minutes_of(metric, points):
    """The metric's points by the minute of their timestamps: value and minute of arrival."""
    found = {}
    for point in points:
        if belongs(metric, point):
            found.setdefault(point.at, []).append((point.value, point.at + point.late))
    return found


def evaluate(alarm, watched, now, state, aligned):
    periods, treated = alarm["EvaluationPeriods"], alarm["TreatMissingData"]
    breaches = COMPARISONS[alarm["ComparisonOperator"]]
    series = {name: _values(*watch, now, periods, aligned) for name, watch in watched.items()}
    values = series[""] if "" in series else _computed(alarm, series, periods)
    found = [None if value is None else breaches(value, alarm["Threshold"]) for value in values]
    if all(value is None for value in found) and treated in ("missing", "ignore"):
        return "INSUFFICIENT_DATA" if treated == "missing" else state
    filled = [treated == "breaching" if value is None else value for value in found]
    return "ALARM" if sum(filled) >= alarm.get("DatapointsToAlarm", periods) else "OK"


def _computed(alarm, series, periods):
    expression, = (entry["Expression"] for entry in alarm["Metrics"] if "Expression" in entry)
    tree = ast.parse(expression.replace(" AND ", " and "), mode="eval").body
    return [_math(tree, {name: values[i] for name, values in series.items()}) for i in range(periods)]


def _values(by_minute, length, statistic, now, periods, aligned):
    """The metric's values in the last periods, as far as they have arrived."""
    end = now // length * length if aligned else now + 1
    values = []
    for begin in range(end - periods * length, end, length):
        found = [value for minute in range(begin, begin + length) for value, arrives in by_minute.get(minute, ())
                 if arrives <= now]
        values.append(statistic(found) if found else None)
    return values


def belongs(metric, point):
    """Whether the point is of this metric: its name, and where the point says it, its dimension's resource."""
    return metric["MetricName"] == point.metric and (not point.of or point.of in str(metric["Dimensions"]))


def _math(node, names):
    """The value of an expression at one time; None without data."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        left, right = _math(node.left, names), _math(node.right, names)
        return None if None in (left, right) else left - right
    if isinstance(node, ast.Compare):
        left, right = _math(node.left, names), _math(node.comparators[0], names)
        compare = {ast.Gt: operator.gt, ast.Eq: operator.eq}[type(node.ops[0])]
        return None if None in (left, right) else compare(left, right)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return all(_math(value, names) for value in node.values)
    if isinstance(node, ast.Call):
        arguments = [_math(argument, names) for argument in node.args]
        if node.func.id == "FILL":
            return arguments[1] if arguments[0] is None else arguments[0]
        if node.func.id == "IF":
            return arguments[1] if arguments[0] else arguments[2]
    raise ValueError(f"not evaluated here: {ast.dump(node)}")
