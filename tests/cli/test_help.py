"""Help texts are sentences, and one name means one kind of thing in every verb."""

from collections import defaultdict

import pytest

import command_page

VERBS = [(name, command) for name, command in command_page.verbs(command_page.root())]
LEAVES = [(name, command) for name, command in VERBS if not getattr(command, "commands", None)]
MOST_WORDS = 25


def type_of(param):
    return getattr(param.bare_type(), "__name__", str(param.bare_type()))


def params():
    return [(name, param) for name, command in LEAVES for param in command.params if param.name != "help"]


@pytest.mark.parametrize(("name", "command"), VERBS, ids=[name for name, _ in VERBS])
def test_every_verb_says_what_it_does(name, command):
    first = command.help.split("\n\n")[0]
    assert len(first.split()) >= 3
    assert first.rstrip().endswith(".")
    assert len(first.split()) <= MOST_WORDS


@pytest.mark.parametrize(("name", "param"), params(), ids=[f"{name} {param.opts[0]}" for name, param in params()])
def test_every_help_text_is_a_sentence(name, param):
    assert param.help, "no help"
    assert len(param.help.split()) >= 3, param.help
    assert param.help.endswith("."), param.help
    assert all(len(part.split()) <= MOST_WORDS for part in param.help.split(". "))


def test_one_name_is_one_type_with_one_short_form():
    found = defaultdict(set)
    for _, param in params():
        for word in param.opts:
            if word.startswith("--"):
                short = tuple(sorted(o for o in param.opts if len(o) == 2))
                found[word].add((type_of(param), param.is_flag, short))
    assert {word: kinds for word, kinds in found.items() if len(kinds) > 1} == {}


def test_one_short_form_is_one_name():
    found = defaultdict(set)
    for name, param in params():
        product = "lab" not in name.split()
        for word in param.opts:
            if len(word) == 2 and word.startswith("-"):
                found[product, word].add(next(o for o in param.opts if o.startswith("--")))
    for names in found.values():
        names.discard("--qualities" if "--quality" in names else "")  # one of them, and several of them
    assert {key: names for key, names in found.items() if len(names) > 1} == {}
