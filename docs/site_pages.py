"""What the documentation site has beyond the Markdown pages; an extension of Sphinx.

Before the sources are listed, ``docs/generated``, which is removed in the end, is
filled with copies of pages from elsewhere in the repository, the figures stored in the
notebooks, and one page per part of the API. While pages are read, links to copied
pages are redirected, and tables of contents and the gallery are appended.
"""

import base64
import inspect
import json
import os
import re
import shutil
from importlib import import_module
from pathlib import Path

from docutils.nodes import SkipNode, make_id
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / "generated"

# Pages elsewhere in the repository that are part of the site. Links to other files
# become downloads.
COPIED = (
    "notebooks/*.ipynb",
    *(
        f"benchmarks/{folder}/*.{kind}"
        for folder in ("*/results", "*_results")
        for kind in ("md", "png", "svg")
    ),
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)

# Which page is above which: patterns, so that a new page needs no line here.
CONTENTS = {
    "index": [
        "quickstart",
        "choose",
        "user_guide/index",
        "theory/index",
        "examples",
        "api/index",
        "glossary",
        "extending/index",
        "differences_from_libra",
        "benchmarks",
        "*",
        "generated/CHANGELOG",
    ],
    "user_guide/index": [
        "regression",
        "classification",
        "structured",
        "outliers",
        "ranking",
        "networks",
        "cross_validation",
        "stability",
        "diagnostics",
        "displays",
        "*",
    ],
    "theory/index": [
        "lbi",
        "split_lbi",
        "outliers",
        "ranking",
        "dessilbi",
        "consistency",
        "recovery",
        "*",
    ],
    "extending/index": ["loss", "penalty", "solver", "*", "/generated/CONTRIBUTING"],
    "examples": ["/generated/notebooks/*"],
    "benchmarks": [
        "/generated/benchmarks/*/results/*",
        "/generated/benchmarks/*_results/*",
    ],
    "api/index": [],  # filled by `write_api`
}

# Rows of the table of docs/api/index.md: part of the API, its modules.
API_ROW = re.compile(r"^\| (\w[^|]*?) \| (`sparselbi[^|]*?) \|", re.MULTILINE)


def clean(app, exception):
    shutil.rmtree(GENERATED, ignore_errors=True)


def prepare(app, config):
    clean(app, None)
    for pattern in COPIED:
        for file in sorted(ROOT.glob(pattern)):
            copy = GENERATED / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)  # with its time: unchanged pages are not reread
    write_api()


# ------------------------------------------------------------------ links between pages


def place(file):
    """Where a file of the repository is for the site."""
    if any(file.match(str(ROOT / pattern)) for pattern in COPIED):
        return GENERATED / file.relative_to(ROOT)
    return file


def origin(file):
    """Where a file of the site comes from."""
    if GENERATED in file.parents:
        return ROOT / file.relative_to(GENERATED)
    return file


def complete(app, docname, source):
    """Redirect links and append what a page of contents needs."""
    page = Path(app.env.doc2path(docname))

    def redirect(match):
        target = Path(os.path.normpath(origin(page).parent / match[1]))
        if not target.is_file():
            return match[0]
        link = Path(os.path.relpath(place(target), page.parent)).as_posix()
        return f"]({link}{match[2] or ''})"

    text = re.sub(r"\]\(((?:\.\.?/|\w)[^):#\s]*)(#[^)\s]*)?\)", redirect, source[0])
    if docname == "examples":  # cards instead of the list
        text = re.sub(r"^- .*\n(?:  .*\n)*", "", text, flags=re.MULTILINE) + gallery()
    if docname == "api/index":
        text = API_ROW.sub(
            lambda row: f"| [{row[1]}](../{api_page(row[1])}.rst) | {row[2]} |", text
        )
    if docname in CONTENTS:
        below = contents(docname, sorted(app.env.found_docs))
        text += "\n".join(["", "```{toctree}", ":hidden:", "", *below, "```", ""])
    source[0] = text


def contents(docname, documents):
    """The pages below a page of contents, each once, in the order of the patterns."""
    folder = Path("/", docname).parent
    found = {}
    for pattern in CONTENTS[docname]:
        for document in documents:
            # A star stays within one folder, other than in fnmatch.
            if document != docname and Path("/", document).match(str(folder / pattern)):
                found[f"/{document}"] = None
    return list(found)


# -------------------------------------------------------------------------- the gallery


def gallery():
    """One card per stored figure, each a link to its place in the notebook."""
    parts = []
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = f"generated/notebooks/{file.stem}"
        title, text, figures = read_notebook(file)
        parts += [f"## [{title}]({page}.ipynb)", "", text, ""]
        parts += ["::::{grid} 1 1 2 2", ":gutter: 3", ""] if figures else []
        for section, image in figures:
            parts += [
                f":::{{grid-item-card}} {section}",
                f":link: {page}.html#{make_id(section)}",
                ":link-type: url",
                f":img-top: {image}",
                ":::",
                "",
            ]
        parts += ["::::", ""] if figures else []
    return "\n".join(parts)


def read_notebook(file):
    """Title, first paragraph, and the figures with the headings they stand under."""
    title, text, section, figures = file.stem, "", None, []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        content = "".join(cell["source"])
        headings = re.findall(r"^#+ +(.+)$", content, re.MULTILINE)
        if cell["cell_type"] == "markdown" and headings:
            if section is None:
                title = headings[0]
                text = re.sub(r"^#.*$", "", content, flags=re.MULTILINE)
                text = text.strip().split("\n\n")[0]
            section = headings[-1]
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                image = GENERATED / "figures" / f"{file.stem}_{len(figures)}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                image.write_bytes(base64.b64decode("".join(png)))
                figures.append((section or title, image.relative_to(DOCS).as_posix()))
    return title, text, figures


# -------------------------------------------------------------------- the API reference


def api_page(part):
    return "generated/api/" + re.sub(r"\W+", "_", part.lower())


def write_api():
    """One page per part of the API, from the ``__all__`` of its modules."""
    table = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    parts = {part: re.findall(r"`(.+?)`", row) for part, row in API_ROW.findall(table)}
    homes = import_module("sparselbi")._HOME  # what `sparselbi` itself offers
    CONTENTS["api/index"] = [f"/{api_page(part)}" for part in parts]
    (GENERATED / "api").mkdir(parents=True)
    for part, modules in parts.items():
        names = {name for name, home in homes.items() if home in modules}
        texts, tables = [], []
        for home in modules:
            module = import_module(home)
            texts += [(module.__doc__ or "").strip(), ""]
            for name in public_names(module):
                if isinstance(value := getattr(module, name), dict):
                    keys = ", ".join(f'``"{key}"``' for key in sorted(value))
                    tables += ["", f"``{home}.{name}``, what has a name: {keys}."]
                elif name not in homes:
                    names.add(f"{home.removeprefix('sparselbi.')}.{name}")
        lines = [part, "=" * len(part), "", *texts, ".. currentmodule:: sparselbi"]
        lines += ["", ".. autosummary::", "   :toctree: .", ""]
        lines += [f"   {name}" for name in sorted(names, key=classes_first)]
        page = DOCS / f"{api_page(part)}.rst"
        page.write_text("\n".join([*lines, *tables, ""]), encoding="utf-8")


def classes_first(name):
    last = name.rpartition(".")[2]
    return last[0].islower(), last


def public_names(module):
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def mark_up(app, what, name, value, options, lines):
    """Docstrings are plain text in two places that reStructuredText would misread."""
    in_bunch = False
    for i, line in enumerate(lines):
        # The fields of a Bunch, one per line, become a list.
        in_bunch = line == "Bunch" or (in_bunch and line.startswith("    "))
        if field := in_bunch and re.match(r"    (\w+) : (.*)", line):
            line = f"    - ``{field[1]}`` : {field[2]}"
        elif in_bunch and line != "Bunch":
            line = f"      {line.strip()}"
        # Shapes such as (n_features_in_,) or (n_knots, *coef_shape) have no mark-up.
        if "``" not in line and ">>>" not in line:
            line = re.sub(r"\((?:[\w* ]+,)+[\w* ]*\)", escape, line)
        lines[i] = line


def escape(match):
    return re.sub(r"(\*|_(?!\w))", r"\\\1", match[0])


def skip_foreign(app, what, name, member, skip, options):
    """Leave out what other packages or Python itself put into a class."""
    member = getattr(member, "fget", None) or getattr(member, "func", None) or member
    home = getattr(member, "__module__", None)
    if type(member).__name__ == "_tuplegetter" or (home or "").split(".")[0] not in (
        "",
        "sparselbi",
    ):
        return True
    return None


# -------------------------------------------------------------------------- formulas


def write_math(writer, node, as_block):
    """As MathML, which browsers show without any script or download."""
    tex = node.astext().replace(r"\operatorname*", r"\operatorname")
    # What docutils does not know, or reads wrongly without braces.
    tex = re.sub(r"\\([bB]igg?)(?![a-zA-Z])", r"\\\1l", tex)
    tex = re.sub(r"(\\[td]?frac)\s*(\w)\s*(\w)", r"\1{\2}{\3}", tex)
    if "\\\\" in tex and "\\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    try:
        writer.body.append(tex2mathml(tex, as_block=as_block))
    except (SyntaxError, ValueError) as error:
        message = "formula that docutils cannot write as MathML: %s (%s)"
        logging.getLogger(__name__).warning(message, tex, error, location=node)
    raise SkipNode


def setup(app):
    app.connect("config-inited", prepare)
    app.connect("env-get-outdated", lambda *_: list(CONTENTS))  # always read again
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", mark_up, priority=1)  # before numpydoc
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("build-finished", clean)
    app.add_html_math_renderer(
        "mathml",
        (lambda writer, node: write_math(writer, node, False), None),
        (lambda writer, node: write_math(writer, node, True), None),
    )
    return {"parallel_read_safe": True}
