"""Texts of others as HTML that cannot do anything: no script, no style, no request of its own.

Learners write Markdown and code, graders write comments. Any of it may be made to break out of the
page it is shown on, so nothing is taken over as it is.
"""

import html
import keyword
import re
from functools import cache, lru_cache

import bleach
import mistune
from markupsafe import Markup

TEXT_LIMIT = 20_000
CODE_LIMIT = 20_000
CUT = "… (the rest is left out here)"
PROTOCOLS = ("http", "https", "mailto")
PLUGINS = ("table", "strikethrough", "math")
TAGS = {
    *("p", "br", "hr", "em", "strong", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": ["href", "rel"], "ol": ["start"]}

# Every alternative takes what it has begun to its end, so the time is linear in the length.
_CODE = re.compile(
    r"(?P<c>\#[^\n]*)"
    r"|(?P<s>[rRbBfFuU]{0,2}(?:"
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)' + r"|'''(?:\\.|[^\\])*?(?:'''|\Z)"
    r'|"(?:\\.|[^"\\\n])*"?' + r"|'(?:\\.|[^'\\\n])*'?))"
    r"|(?P<n>\b\d[\w.]*)"
    r"|(?P<w>[^\W\d]\w*)",
    re.DOTALL,
)
# What a browser would not show, or would show in another place: controls and changes of direction.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def markdown(text: str) -> Markup:
    """Markdown by anybody, as HTML without headings, images, raw HTML or other than plain links.

    >>> markdown("**yes** [x](javascript:alert(1)) <b>")
    Markup('<p><strong>yes</strong> x &lt;b&gt;</p>')
    """
    made = _render(visible(text, TEXT_LIMIT))
    return Markup(
        bleach.clean(made, tags=TAGS, attributes=ATTRIBUTES, protocols=PROTOCOLS, strip=True)
    ).strip()


@lru_cache(1000)
def own_markdown(text: str) -> Markup:
    """Markdown from the course itself, such as a hint: the same, and kept for the next page.

    >>> own_markdown("Sort `x` first.")
    Markup('<p>Sort <code>x</code> first.</p>')
    """
    return Markup(_render(text)).strip()


def sentence(text: str) -> Markup:
    """One line of text, with `code` in backticks set as code.

    >>> sentence("`trim` stopped with <b>")
    Markup('<code>trim</code> stopped with &lt;b&gt;')
    """
    pieces = html.escape(visible(text, TEXT_LIMIT)).split("`")
    return Markup("".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(pieces)))


def code(source: str) -> Markup:
    """Python source with its comments, strings, numbers and keywords marked; need not be valid.

    >>> code("if x: # <b>")
    Markup('<span class="k">if</span> x: <span class="c"># &lt;b&gt;</span>')
    """
    source = visible(source, CODE_LIMIT)
    parts, end = [], 0
    for found in _CODE.finditer(source):
        kind = found.lastgroup
        if kind == "w":
            if not keyword.iskeyword(found[0]):
                continue
            kind = "k"
        parts += [
            html.escape(source[end : found.start()]),
            f'<span class="{kind}">{html.escape(found[0])}</span>',
        ]
        end = found.end()
    return Markup("".join([*parts, html.escape(source[end:])]))


def visible(text: str, limit: int) -> str:
    """Text of at most about `limit` characters in which nothing hides.

    >>> visible("abc\\u202edef", 5)
    'abc�d\\n… (the rest is left out here)'
    """
    if len(text) > limit:
        text = f"{text[:limit]}\n{CUT}"
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


class _Renderer(mistune.HTMLRenderer):
    """What the page has a place for; the outline of the page stays its own."""

    def heading(self, text: str, level: int, **_: object) -> str:
        return f"<p><strong>{text}</strong></p>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        scheme = re.match(r"([a-z]+):", url, re.IGNORECASE)
        if scheme is None or scheme[1].lower() not in PROTOCOLS:
            return text
        return f'<a href="{html.escape(url)}" rel="noopener noreferrer nofollow">{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"[image: {html.escape(html.unescape(re.sub('<[^>]*>', '', text)))}]"

    def inline_math(self, text: str) -> str:
        return f"<code>{html.escape(text)}</code>"

    def block_math(self, text: str) -> str:
        return f"<pre><code>{html.escape(text)}</code></pre>\n"

    def block_code(self, code: str, info: str | None = None) -> str:
        return f"<pre><code>{html.escape(code)}</code></pre>\n"


@cache
def _parser() -> mistune.Markdown:
    return mistune.create_markdown(renderer=_Renderer(escape=True), plugins=list(PLUGINS))


def _render(text: str) -> str:
    try:
        return str(_parser()(text))
    except (RecursionError, ValueError, IndexError):  # a text made to break the parser
        return f"<pre>{html.escape(text)}</pre>"
