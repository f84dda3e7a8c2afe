# SPDX-License-Identifier: Apache-2.0
import re

import pytest

import weirtest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture
def box(request):
    """A test's own directory and processes. When the test fails, the ends of the logs are printed."""
    box = weirtest.Box(re.sub(r"\W+", "-", request.node.name))
    box.note = lambda text: request.node.user_properties.append(("figure", text))
    yield box
    faults = box.close()
    failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
    if faults or failed:
        print(box.logs())
    box.remove()
    assert not faults, faults


def pytest_report_header(config):
    slow = f", {weirtest.SANITIZER}: a tenth of the items, {weirtest.SLOW} times the patience" if weirtest.SANITIZER else ""
    return f"weir: {weirtest.BUILD}{slow}"


def pytest_terminal_summary(terminalreporter):
    """What the tests measured, or could not check: box.note(text)."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for name, text in report.user_properties:
                    terminalreporter.write_line(f"{report.nodeid.split('::')[-1]}: {text}")
