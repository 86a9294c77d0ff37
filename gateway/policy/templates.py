"""Templates as forms, and what a form makes of `links.toml`. Pure: for the console, which draws the forms and saves the files.

A change is text: the block of one link is added at the end, put in another's place, or taken away, and every other byte of the
file stays as it was, so that a diff shows this one change. What comes of it is read again before it is handed out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.annotations import wrong_value
from gateway.policy.compile import SCHEMA_FILE
from gateway.policy.evaluate import Bundle
from gateway.policy.known import NOTHING, Known
from gateway.policy.linking import compile_link, compile_template
from gateway.policy.links import HEADER, LINKS_FILE, Link, beginnings, read_links, write_link, wrong_values
from gateway.policy.problems import problems_of
from gateway.policy.source import PolicySource, decode, split
from gateway.policy.template import Kind, Template, Value, is_template

FORM: Final = "form"
"""Where problems of a form are: `form:<field>`."""
_TEXTS: Final = ("id", "title_ja", "title_en", "guideline", "mode")


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One place of a template, to be filled in. All are required."""

    name: str
    """`principal`, `resource`, `from` ..."""
    kind: Kind
    label_ja: str
    label_en: str
    choices: tuple[str, ...] = ()
    """What can be chosen. `open`: other words may be typed, too."""
    open: bool = False
    low: int | None = None
    high: int | None = None
    """Of a number: both included."""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What fills a template in. Beside its fields every form takes `id`, `title_ja`, `title_en`, `guideline` (all may be empty:
    then an id is made up, and the others are the template's) and `mode` (`report-only`, or empty to enforce).
    """

    template: str
    title_ja: str
    title_en: str
    guidelines: tuple[str, ...]
    effect: str
    """`permit` or `forbid`."""
    fields: tuple[Field, ...]


def forms(bundle: Bundle, known: Known = NOTHING) -> tuple[Form, ...]:
    """Return the form of each template of a bundle, in its order. `known` names are offered as choices."""
    return tuple(_form(template, known) for template in bundle.templates)


def form_of(bundle: Bundle, template_id: str, known: Known = NOTHING) -> Form | None:
    """Return one template's form."""
    return next((_form(template, known) for template in bundle.templates if template.id == template_id), None)


def _form(template: Template, known: Known) -> Form:
    fields = tuple(
        Field(
            name=slot.name,
            kind=slot.kind,
            label_ja=slot.label_ja,
            label_en=slot.label_en,
            choices=slot.words or known.names(slot.kind) or (),
            open=not slot.words and slot.kind not in {"date", "number"},
            low=slot.low if slot.kind == "number" else None,
            high=slot.high if slot.kind == "number" else None,
        )
        for slot in template.slots
    )
    return Form(
        template=template.id,
        title_ja=template.title_ja,
        title_en=template.title_en,
        guidelines=template.guidelines,
        effect=template.effect,
        fields=fields,
    )


class FormProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One field that is not right."""

    field: str
    """Of the form; `template` for the form as a whole."""
    what: str
    todo: str


class FormRefused(BundleError):  # noqa: N818  a refusal, not a failure
    """What was filled in makes no link; the files are as they were."""

    def __init__(self, problems: Sequence[FormProblem]) -> None:
        first = problems[0]
        super().__init__(first.what, where=f"{FORM}:{first.field}", todo=first.todo)
        self.problems = tuple(problems)


def add_link(files: Mapping[str, bytes], template_id: str, values: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files with one more link. `values`: the form's fields as typed. Raises FormRefused."""
    desk = _Desk(files)
    link = desk.link_of(template_id, values)
    text = desk.text or HEADER
    return desk.with_text(text.rstrip("\n") + "\n\n" + write_link(link), [*desk.links, link])


def change_link(files: Mapping[str, bytes], link_id: str, values: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files with another link in the place of `link_id`, of the same template. Raises FormRefused."""
    desk = _Desk(files)
    number = desk.number_of(link_id)
    link = desk.link_of(desk.links[number].template, {**values, "id": values.get("id") or link_id}, but=link_id)
    before, _, after = desk.around(number)
    return desk.with_text(before + write_link(link) + after, [*desk.links[:number], link, *desk.links[number + 1 :]])


def remove_link(files: Mapping[str, bytes], link_id: str) -> dict[str, bytes]:
    """Return the files without a link; the last one takes the file with it. Raises FormRefused."""
    desk = _Desk(files)
    number = desk.number_of(link_id)
    if len(desk.links) == 1:
        return {name: data for name, data in files.items() if name != LINKS_FILE}
    before, _, after = desk.around(number)
    text = before.rstrip("\n") + "\n" + ("\n" + after.lstrip("\n") if after.strip() else "")
    return desk.with_text(text, [*desk.links[:number], *desk.links[number + 1 :]])


def values_of(files: Mapping[str, bytes], link_id: str) -> tuple[str, dict[str, str]]:
    """Return a link's template and what its form held, to change it. Raises FormRefused where there is no such link."""
    desk = _Desk(files)
    link = desk.links[desk.number_of(link_id)]
    texts = {name: getattr(link, name) for name in _TEXTS}
    return link.template, {**texts, **{name: str(value) for name, value in link.all_values().items()}}


def _refuse(field: str, what: str, todo: str) -> FormRefused:
    return FormRefused([FormProblem(field=field, what=what, todo=todo)])


class _Desk:
    """What a bundle's files hold of templates and links. Files with other problems don't matter here."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files: Final = files
        try:
            self.text: Final = decode(files.get(LINKS_FILE, b""), LINKS_FILE)
            self.links: Final = list(read_links(files[LINKS_FILE], LINKS_FILE)) if LINKS_FILE in files else []
        except BundleError as error:
            raise _refuse("template", f"{LINKS_FILE} can't be read: {error}", "Correct it as text first") from None
        self._templates: Final = {template.id: template for template in _templates(files)}

    def number_of(self, link_id: str) -> int:
        for number, link in enumerate(self.links):
            if link.id == link_id:
                return number
        raise _refuse("id", f"there is no link {ascii(link_id)[:80]}", "Somebody else may have taken it away: look again")

    def around(self, number: int) -> tuple[str, str, str]:
        """The text before a link's block, the block, and the text after: blank lines and comments before the next are its own."""
        lines = self.text.split("\n")
        begins = [line - 1 for line in beginnings(self.text)]
        begin = begins[number]
        end = begins[number + 1] if number + 1 < len(begins) else len(lines)
        while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1
        block = "".join(line + "\n" for line in lines[begin:end])
        return "".join(line + "\n" for line in lines[:begin]), block, "\n".join(lines[end:])

    def link_of(self, template_id: str, values: Mapping[str, str], but: str = "") -> Link:
        """Make a link of what was typed, and check it as the bundle would."""
        template = self._templates.get(template_id)
        if template is None:
            raise _refuse("template", f"there is no template {ascii(template_id)[:80]}", "Choose one of the forms")
        typed = {name: value.strip() for name, value in values.items()}
        slots = {slot.name: slot for slot in template.slots}
        unknown = [name for name in typed if name not in slots and name not in _TEXTS]
        if unknown:
            raise _refuse("template", f"{ascii(unknown[0])[:80]} is no field of this form", "Leave it out")
        given = {name: typed[name] for name in slots if typed.get(name)}
        filled = {name: _number(text) if slots[name].kind == "number" else text for name, text in given.items()}
        texts = {name: typed[name] for name in _TEXTS if typed.get(name)}
        texts.setdefault("id", self._new_id(template_id))
        link = Link(
            template=template_id,
            principal=_text(filled.pop("principal", None)),
            resource=_text(filled.pop("resource", None)),
            values=filled,
            line=1,
            **texts,
        )
        problems = [FormProblem(field=name, what=what, todo=todo) for name, what, todo in wrong_values(link, template)]
        for name, value in texts.items():
            if wrong := wrong_value(name, value):
                problems.append(FormProblem(field=name, what=wrong[0], todo=wrong[1]))
        if link.id != but and link.id in self._ids():
            problems.append(FormProblem(field="id", what=f"{link.id} is the id of another policy", todo="Choose another"))
        if problems:
            raise FormRefused(problems)
        try:
            compile_link(link, self._templates, (), FORM)
        except BundleError as error:
            raise FormRefused(
                [FormProblem(field="template", what=one.what, todo=one.todo) for one in problems_of(error)]
            ) from None
        return link

    def _ids(self) -> set[str]:
        policies = {source.tokens[index + 3].text.strip('"') for source, index in _id_places(self._files)}
        return policies | {link.id for link in self.links}

    def _new_id(self, template_id: str) -> str:
        taken = self._ids()
        return next(name for number in range(1, len(taken) + 2) if (name := f"{template_id[:56]}-{number}") not in taken)

    def with_text(self, text: str, links: Sequence[Link]) -> dict[str, bytes]:
        """The files with this text, if it holds just these links."""
        data = text.encode()
        found = [msgspec.structs.replace(link, line=0) for link in read_links(data, LINKS_FILE)]
        if found != [msgspec.structs.replace(link, line=0) for link in links]:
            raise _refuse("template", f"{LINKS_FILE} is written in a way that no form can change", "Change it as text")
        return {name: data if name == LINKS_FILE else self._files[name] for name in sorted({*self._files, LINKS_FILE})}


def _text(value: Value | None) -> str | None:
    return None if value is None else str(value)


def _number(typed: str) -> Value:
    """What was typed as a number; what is none stays as it is, and is refused with the field's own words."""
    return int(typed) if typed.isascii() and typed.isdecimal() and len(typed) <= 9 else typed  # noqa: PLR2004  said in `template`


def _sources(files: Mapping[str, bytes]) -> Iterator[PolicySource]:
    for name, data in sorted(files.items()):
        if name.endswith(".cedar") and name != SCHEMA_FILE:
            try:
                yield from split(decode(data, name), name)
            except BundleError:
                continue  # an unfinished file elsewhere is no reason to close the form; the check names it


def _templates(files: Mapping[str, bytes]) -> Iterable[Template]:
    for source in _sources(files):
        if is_template(source):
            try:
                yield compile_template(source)
            except BundleError:
                continue  # as above


def _id_places(files: Mapping[str, bytes]) -> Iterator[tuple[PolicySource, int]]:
    for source in _sources(files):
        texts = [token.text for token in source.tokens]
        for index in range(len(texts) - 3):
            if texts[index : index + 3] == ["@", "id", "("]:
                yield source, index
