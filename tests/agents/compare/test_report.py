import getpass
import html.parser
import os
import re
import socket

import pytest

from nodepert.agents import ConfigError
from nodepert.agents.compare.records import Folder
from nodepert.agents.compare.report import write_report
from nodepert.agents.compare.run import Run


class Page(html.parser.HTMLParser):
    """What an HTML file refers to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def folder(tmp_path, make_record):
    folder = Folder(tmp_path)
    for agent, value in (("np", 0.5), ("ppo", 0.25), ("random", 0.0)):
        for seed in range(2):
            settings = {"policy": "MlpPolicy", "source": "rl_zoo3", "note": "<b>&|"}
            found = make_record(
                "A-v0",
                agent,
                seed,
                finals=(0.0, value + seed / 100),
                cut=100 if (agent, seed) == ("ppo", 1) else None,
                env_kwargs={"root": os.path.join(os.path.expanduser("~"), "images")},
                hyperparameters={} if agent == "random" else settings,
            )
            fields = {k: found[k] for k in Run.__dataclass_fields__}
            folder.write(Run(**fields), found)
    return folder


def test_report(folder, recwarn):
    write_report(folder, {"sac on A-v0, seed 0": "ValueError: no\nsuch"})
    assert not recwarn.list
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        "runs", "comparison.csv", "curves.png", "profile.png", "report.md", "report.html",
    }  # fmt: skip
    lines = (folder.path / "comparison.csv").read_text().splitlines()
    assert lines[0] == "env,agent,seed,env_steps,seconds,metric,value"
    assert lines[1:3] == [
        "A-v0,np,0,0,0.0,mean_return,0.0",
        "A-v0,np,0,100,1.0,mean_return,0.5",
    ]
    assert len(lines) == 1 + 3 * 2 * 2
    markdown = (folder.path / "report.md").read_text()
    assert "| np | 0.505 | 0.5 to 0.51 | 2 | – | 100 | 1.0 |  |" in markdown
    row = "| ppo | 0.255 | 0.25 to 0.26 | 2 | 1.00 (1.00 to 1.00) | 100 | 1.0 | cut at 100 steps"
    assert row in markdown
    assert "sac on A-v0, seed 0 | ValueError |" in markdown
    assert "note: <b>&\\|" in markdown
    assert "root=images" in markdown
    for picture in re.findall(r"!\[.*\]\((.*)\)", markdown):
        assert (folder.path / picture).is_file()


def test_page_needs_no_other_file_and_tells_nothing_private(folder):
    write_report(folder, {})
    text = (folder.path / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for word in ("0.255", "cut at 100 steps", "rl_zoo3", "note: <b>&|", "CPU cores", "3.11.0"):
        assert word in page.text
    private = [os.path.expanduser("~"), str(folder.path), socket.gethostname()]
    for word in [*private, f"/{getpass.getuser()}/"]:
        assert word not in page.text


def test_agents_that_share_no_environment_have_no_profile(tmp_path, make_record):
    folder = Folder(tmp_path)
    for env, agent in (("A-v0", "np"), ("B-v0", "ppo")):
        found = make_record(env, agent)
        folder.write(Run(**{k: found[k] for k in Run.__dataclass_fields__}), found)
    write_report(folder, {})
    assert not (tmp_path / "profile.png").exists()
    assert "profile" not in (tmp_path / "report.html").read_text()


def test_nothing_to_report(tmp_path):
    with pytest.raises(ConfigError, match="no run is finished"):
        write_report(Folder(tmp_path), {})


def test_the_table_says_when_a_target_was_reached(folder):
    write_report(folder, {}, target=0.505)
    found = (folder.path / "report.md").read_text()
    assert "| P(np better) | env steps to 0.505 | env steps |" in found
    assert "| – | not reached (1/2) | 100 |" in found
    assert found.count("not reached (0/2)") == 2
