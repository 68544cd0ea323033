"""The Python examples of the documentation run, page by page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILT = {"generated", "_build"}  # what a build of the site may leave behind
PAGES = [
    page
    for page in sorted(ROOT.glob("docs/**/*.md"))
    if not BUILT & set(page.relative_to(ROOT).parts)
]
PAGES += sorted(ROOT.glob("README.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TORCH = re.compile(r"^(?:import|from) (?:torch|sparselbi\.torch)\b", re.MULTILINE)


def blocks(page):
    """Code blocks, each behind as many empty lines as its place in the page needs."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, match.start(1)) + match.group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(page, tmp_path, monkeypatch):
    from sparselbi import losses, penalties

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # Pages about extending register what they define: in copies of the tables.
    monkeypatch.setattr(losses, "LOSSES", dict(losses.LOSSES))
    monkeypatch.setattr(penalties, "PENALTIES", dict(penalties.PENALTIES))
    namespace = {"__name__": "__main__"}
    for code in blocks(page):
        if TORCH.search(code):  # optional; in CI it is there, and a skip is a failure
            pytest.importorskip("torch_pruning" if "prune" in code else "torch")
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_files(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]*?)(?:#[^)]*)?\)", text):
        if target and not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
