"""The dialect of chat templates, what it refuses, and how it says so."""

from pathlib import Path
from typing import Any

import pytest

from server.chat.messages import Answer, Render, Rendered, RenderFailed
from server.chat.render import make_renderer

from .rendering import HELLO, reference


def render(template: str, **fields: Any) -> Answer:
    return make_renderer()(Render(1, template, HELLO, **fields))


DIALECT = [
    "{{ [3, 1, 2][::-1] }} {{ 'a-b-c'.split('-')[-1] }} {{ ' x '.rstrip() }}|{{ '\\n\\nx'.lstrip('\\n') }}",
    "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{% set ns.n = i %}"
    "{% endfor %}{{ ns.n }}",
    "{% for i in range(4) %}{% if i % 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}{{ x is defined }}",
    "{% set x = 5 %}{% generation %}{{ x }}{% endgeneration %}{% for i in [1, 2] %}"
    "{%- generation -%} {{ i }} {{ loop.last }} {%- endgeneration -%}{% endfor %}",
    "{{ {'a': '<é>', 'b': [1, None, true]}|tojson }}\n{{ {'b': 1, 'a': '&'}|tojson(indent=4) }}",
    "{{ 'é'|tojson(ensure_ascii=true) }}",
    "{{ 'a' ~ 1 ~ none ~ undefined_thing ~ 'b' }} {{ ('x' ~ 'y')|upper }}",
    "{{ 7 * 6 }} {{ 2 ** 10 }} {{ '-' * 5 }} {{ [0] * 3 }} {{ 7 % 4 }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ 1.5 * 2 }}",
    "{{ '%05.2f and %s, 100%%' % (3.14159, 'x') }} {{ '%(a)s' % {'a': 1} }} {{ '**%s**' % 'bold' }}",
    "{{ '{:>8}|{!r}'.format('a', 'b') }} {{ '{a}'.format_map({'a': 1}) }} {{ '%s-%s'|format(1, 2) }}",
    "{{ 'ab'|center(10) }}|{{ 'ab'.center(10) }}|{{ 'ab'.ljust(5) }}|{{ 'ab'.rjust(5) }}|{{ '7'.zfill(3) }}",
    "{{ 'a\nb'|indent(2, true) }}|{{ 'a\nb'|indent('> ', first=true) }}|{{ 'one two three'|wordwrap(5) }}",
    "{{ [1, 2, 3]|join(', ') }}|{{ ', '.join(['a', 'b']) }}|{{ [{'a': 1}]|join('-', attribute='a') }}",
    "{{ 'aXbX'|replace('X', '') }}|{{ 'aXbX'.replace('X', 'yy', 1) }}|{{ 'a\tb'.expandtabs(4) }}",
    "{{ range(7)|batch(3, 'x')|list }}|{{ range(7)|slice(3)|list }}|{{ 2.345|round(2) }}|{{ 'abcdefgh'|truncate(5) }}",
    "{% macro m(a, b='q') %}{{ a }}{{ b }}{{ caller() if caller else '' }}{% endmacro %}{{ m(1) }}"
    "{% call m(1, b=2) %}c{% endcall %}",
    "{{ messages|map(attribute='role')|list }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
    "{{ messages[0]['content'] is string }} {{ messages[0].get('name', 'none') }} {{ messages[0].items()|list }}",
    "{%- for k, v in messages[0]|dictsort %}{{ k }}={{ v }};{% endfor %} {{ dict(a=1)|tojson }}",
    "{% autoescape true %}{% set a, b = '<', '>'|safe %}{{ a ~ b }}{{ a }}{% endautoescape %}",
]


@pytest.mark.parametrize("template", DIALECT)
def test_the_dialect_is_that_of_plain_jinja(template: str) -> None:
    assert render(template) == Rendered(1, reference(template, messages=HELLO))


def test_dates() -> None:
    assert render("{{ strftime_now('%%') }}") == Rendered(1, "%")


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch MARKER').read() }}",
    "{{ lipsum.__globals__['os'].system('touch MARKER') }}",
    "{{ namespace.__init__.__globals__['__builtins__']['open']('MARKER', 'w') }}",
    "{{ raise_exception.__globals__['json'].codecs.open('MARKER', 'w') }}",
    "{{ (''|attr('__class__')|attr('__base__')|attr('__subclasses__'))() }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(namespace) }}",
    "{{ '{a.__class__.__mro__}'.format_map({'a': namespace}) }}",
    "{{ ('{0.__class__.__base__}'|attr('format'))(1) }}",  # CVE-2025-27516
    "{% set f = '{0.__class__.__mro__}'.format %}{{ f(1) }}",  # CVE-2024-56326
    "{{ self._TemplateReference__context.environment.loader.get_source('MARKER') }}",
    "{{ (messages|map('attr', '__class__')|first).__bases__ }}",
    "{% for _ in (1,) %}{{ loop.__init__.__globals__.sys.modules.os.system('touch MARKER') }}{% endfor %}",
    "{{ raise_exception.__call__.__self__.__code__ }}",
    "{{ messages.append({'role': 'system'}) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{% include 'MARKER' %}",
    "{% import 'os' as os %}{{ os.system('touch MARKER') }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_cannot_reach_the_interpreter(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = render(template)
    assert isinstance(answer, RenderFailed)
    assert "<class" not in answer.message
    assert not list(tmp_path.iterdir())


BROKEN = {
    "{{ messages[0].content + 1 }}": "TypeError",
    "{{ 1 / 0 }}": "ZeroDivisionError",
    "{{ nothing.here }}": "'nothing' is undefined",
    "{% for %}": "not valid, line 1",
    "\n\n{{ ": "not valid, line 3",
    "{{ raise_exception('no\n  way') }}": "refused the conversation: no way",
    "{{ raise_exception(raise_exception) }}": "refused the conversation: <function _raise_exception>",
    "{{ raise_exception('x' * 5000) }}": "x" * 500,
    "{{ raise_exception('\\ud800') }}": "refused the conversation: ?",
    "{{ '\\ud800' }}": "UnicodeEncodeError",
    "{{ messages|tojson|int('x') + 1 }}": "TypeError",
    "{{ [].pop() }}": "may not do",
    "{{ undefined_thing|tojson }}": "TypeError",
    "{% break %}": "too complex",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "nests too deeply",
    "{% block a %}{% block a %}{% endblock %}{% endblock %}": "not valid",
    "{{ strftime_now('%Y' * 200) }}": "very long pattern",
    "{{ {}|first + 1 }}": "UndefinedError",
}


@pytest.mark.parametrize("template", BROKEN)
def test_what_is_wrong_is_said_in_a_sentence(template: str) -> None:
    answer = render(template)
    assert isinstance(answer, RenderFailed)
    assert BROKEN[template] in answer.message
    assert answer.message.startswith("The chat template ")
    assert len(answer.message) < 600
    for secret in ("0x", "Traceback", "\n", ".py", "site-packages"):
        assert secret not in answer.message


def test_a_variable_may_not_replace_the_conversation() -> None:
    answer = render("{{ messages }}", variables={"messages": [], "tools": [], "other": 1})
    assert answer == RenderFailed(
        1, "The chat template failed: ValueError: messages, tools cannot be given as a variable"
    )


def test_a_variable_may_have_any_other_name() -> None:
    assert render("{{ self is defined }} {{ context }}", variables={"self": 1, "context": 2}) == Rendered(1, "True 2")


def test_nothing_of_a_template_runs_while_it_compiles() -> None:
    never = "{% if false %}{{ raise_exception('ran') }}{{ 'a'|center(9) }}{{ 'a' ~ 'b' }}{{ 2 + 2 }}{% endif %}ok"
    assert render(never) == Rendered(1, "ok")


def test_templates_share_nothing_between_renders() -> None:
    answer = make_renderer()
    counting = "{% set ns = namespace(n=(ns.n if ns is defined else 0) + 1) %}{{ ns.n }}{% set messages = [] %}"
    orders = [Render(number, counting, HELLO) for number in range(3)]
    assert [answer(order) for order in orders] == [Rendered(number, "1") for number in range(3)]
