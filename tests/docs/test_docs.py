"""README and documentation against the product: what they run, name, link to and count."""

import os
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

import benchmark_page
import command_page
import compressai_tables
import tadan
from photo_examples import photo

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), DOCS / "results" / "README.md", ROOT / "fuzz" / "README.md"])
#: Pages whose words are held to short sentences; specification, study and logs are read otherwise.
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PROSE += [
    DOCS / f"{name}.md"
    for name in ("index", "tutorial", "batch", "collections", "effort", "tiles", "damage", "pictures")
]
PROSE += [DOCS / f"{name}.md" for name in ("choose", "fallback", "schedules", "exactness", "benchmarks", "experiments")]
PROSE += [DOCS / f"{name}.md" for name in ("poc", "kpis")]
MOST_WORDS = 25


def _name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(path, language):
    """The fenced blocks of a language in a page, in their order."""
    fences = re.split(r"^```(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = list(zip(fences[1::2], fences[2::2], strict=True))  # opening and closing fences take turns
    return [text for name, text in found[::2] if name == language]


def anchors(path):
    """The ids that a page's headings get."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def command_lines(path):
    """Words of every ``tadan ...`` in the blocks of a page that hold shell commands."""
    for block in [*blocks(path, ""), *blocks(path, "sh")]:
        for line in block.replace("\\\n", " ").splitlines():
            if not re.search(r"(^|[&|] *)tadan ", line):
                continue
            words = shlex.shlex(line, posix=True, punctuation_chars="&|<>")
            words.whitespace_split = True
            command = []
            for word in [*words, "&&"]:
                if not set(word) <= set("&|"):
                    command.append(word)
                    continue
                if command[:1] == ["tadan"]:
                    yield command
                command = []


def resolve(words):
    """The verb that a command line calls and what follows it; None for a verb that does not exist."""
    command, rest = command_page.root(), words[1:]
    while getattr(command, "commands", None):
        if not rest or rest[0] not in command.commands:
            return None
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def sentences(path):
    """Sentences of a page: no code, no tables, no link targets."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^(\||#|:::).*$", "\n", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", text):
        yield from re.split(r"(?<=[.:;?!])\s", " ".join(paragraph.split()))


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_python_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo()).save("photo.jpg", quality=95)
    names = {}
    for block in blocks(ROOT / name, "python"):
        exec(compile(block, name, "exec"), names)
    assert tadan.inspect(Path("photo.tdn").read_bytes()).width == photo().shape[1]


def test_the_benchmark_page_is_what_the_script_writes():
    assert benchmark_page.PAGE.read_text(encoding="utf-8") == benchmark_page.page()


@pytest.mark.parametrize("page", compressai_tables.PAGES, ids=_name)
def test_the_tables_of_contexts_for_compressai_are_what_the_script_writes(page):
    assert page.read_text(encoding="utf-8") == compressai_tables.filled(page)


def test_the_table_of_the_readme_is_what_the_script_writes():
    text = benchmark_page.README.read_text(encoding="utf-8")
    assert benchmark_page.TABLE_BEGIN in text
    assert benchmark_page.TABLE_END in text
    assert text == benchmark_page.readme()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = page if not target else Path(os.path.normpath(page.parent / target))
        missing = not file.exists() and file != DOCS / "commands.md"  # made with the site
        if missing or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PROSE, ids=_name)
def test_sentences_are_short(page):
    assert [words for words in sentences(page) if len(words.split()) > MOST_WORDS] == []


@pytest.mark.parametrize("page", [*PROSE, ROOT / "CHANGELOG.md", DOCS / "results" / "README.md"], ids=_name)
def test_pages_name_no_machine_of_their_authors(page):
    found = re.findall(r"\.\./shared|/work/|/tmp/|scratch path|busy|beside CI|clock demanded", page.read_text("utf-8"))
    assert not found


def test_command_lines_name_verbs_and_options_that_exist():
    wrong = []
    for page in PAGES:
        for words in command_lines(page):
            found = resolve(words)
            known = found and command_page.options(found[0])
            options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
            if not found or not known.issuperset(options):
                wrong.append(f"{page.name}: {shlex.join(words)}")
    assert wrong == []


def test_the_reference_of_commands_holds_every_verb_and_option():
    page = command_page.page()
    for name, command in command_page.verbs(command_page.root()):
        assert f" {name}\n" in page
        if not getattr(command, "commands", None):
            shown = page.partition(f" {name}\n")[2].partition("\n#")[0]
            spelled = {word for word in command_page.options(command) if word.startswith("-")} - {"--help", "-h"}
            assert {word for word in spelled if f"`{word}`" not in shown} == set()


def test_results_name_no_folder_of_one_machine():
    files = [path for path in (DOCS / "results").rglob("*") if path.suffix in {".json", ".jsonl", ".txt", ".md"}]
    assert len(files) > 30
    private = re.compile(r"\.\./shared|/(?:tmp|work|root|home|Users)/")
    assert [path.name for path in files if private.search(path.read_text(encoding="utf-8"))] == []


def test_the_page_of_key_figures_is_what_the_product_has():
    from tadan_lab.poc.kpis import KPIS

    text = (DOCS / "kpis.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    found = [[cell.strip("| `") for cell in row] for row in rows]
    assert [row[0] for row in found] == list(KPIS)
    for row, one in zip(found, KPIS.values(), strict=True):
        title = f"{one.title}, {one.unit}" if one.unit else one.title
        default = "" if one.default is None else f"{one.default:g}"
        assert row[1:5] == [title, "more" if one.more else "less", one.section, str(one.step)]
        assert row[5].replace("`", "") == one.formula.replace("`", "")
        assert row[6] == default


@pytest.mark.parametrize("place", [0, 1])
def test_the_files_of_the_proof_of_concept_are_accepted(place, tmp_path):
    from tadan_lab.poc.money import read_prices
    from tadan_lab.poc.verdict import read_thresholds

    path = tmp_path / "a.toml"
    path.write_text(blocks(DOCS / "poc.md", "toml")[place])
    assert (read_thresholds, read_prices)[place](path)
