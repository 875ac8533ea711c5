"""The guided tour of a demonstration: a strip with the chapter, what to watch in it, and the way to the next one.

It is there only where the ledger has a tour (`gridpilot demo` records one). A chapter is a page and a moment, gone to
by the same addresses that anybody may send. While it runs, its buttons stand for those of the bar of a past moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import looking, moment_bar
from gridpilot.errors import GridPilotError
from gridpilot.foreign import escape

_CHAPTER: Final = "guide_chapter"  # its place; absent before the first run
_ENDED: Final = "guide_ended"


def running() -> bool:
    """Whether the tour leads."""
    return bool(_tour())


def start_again(pages: Mapping[str, Any], page: str) -> None:
    """A button that begins a tour that was ended, at its first chapter; nothing where there is none to begin."""
    chapters = _recorded() if st.session_state.get(_ENDED) else ()
    if chapters and st.button("Start the tour again", key="guide_start"):
        del st.session_state[_ENDED]
        _to(0, chapters, pages, page)


def _tour() -> tuple[views.Chapter, ...]:
    return () if st.session_state.get(_ENDED) else _recorded()


def _recorded() -> tuple[views.Chapter, ...]:
    try:
        return views.tour()
    except GridPilotError:
        return ()  # the strip says what is wrong with the ledger


def begin(page: str) -> None:
    """On a session's first run: the first chapter, unless the address asks for something else."""
    if _CHAPTER in st.session_state:
        return
    st.session_state[_CHAPTER] = 0
    chapters, look = _tour(), looking.current()
    if chapters and page == chapters[0].page and look.at is None:
        looking.go(views.Look(look.site, chapters[0].at))


def show(pages: Mapping[str, Any], page: str) -> None:
    """The strip; nothing where there is no tour, or it was ended. `pages`: url path -> the registered page."""
    chapters = _tour()
    if not chapters:
        return
    place = min(st.session_state.get(_CHAPTER, 0), len(chapters) - 1)
    chapter = chapters[place]
    with st.container(key="guide", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(guide_html(chapter, place, len(chapters)), width="stretch")
        if chapter.play_until is not None:
            here = views.Look(looking.current().site, chapter.at)
            end = fmt.local(chapter.play_until, views.current_site().timezone, with_date=False)
            if moment_bar.playing():
                st.button("Pause", key="guide_pause", on_click=moment_bar.halt)
            elif st.button(f"Play to {end}", key="guide_play", help="One decision after the other, a second each"):
                moment_bar.start(chapter.play_until)
                _go(pages, page, chapter.page, here)
        for word, step in (("Previous", place - 1), ("Next", place + 1)):
            onward = word == "Next"
            if st.button(
                f"{word} chapter",
                key=f"guide_{word.lower()}",
                type="primary" if onward else "secondary",
                disabled=not 0 <= step < len(chapters),
            ):
                _to(step, chapters, pages, page)
        again = "Look around by yourself; Time, above, has the way back into the tour"
        st.button("End tour", key="guide_end", type="tertiary", on_click=_end, help=again)


def guide_html(chapter: views.Chapter, place: int, of: int) -> str:
    """Where in the tour this is, and what to watch."""
    head = f"<b>{place + 1} of {of}: {escape(chapter.title)}</b>"
    return f"<div class='gp-guide'>{head}<br><span>{escape(chapter.says)}</span></div>"


def _to(place: int, chapters: Sequence[views.Chapter], pages: Mapping[str, Any], page: str) -> None:
    """To a chapter."""
    st.session_state[_CHAPTER] = place
    moment_bar.halt()
    _go(pages, page, chapters[place].page, views.Look(looking.current().site, chapters[place].at))


def _go(pages: Mapping[str, Any], page: str, to: str, look: views.Look) -> None:
    """To a page at a moment."""
    looking.go(look)
    if to == page:
        st.rerun()
    st.switch_page(pages[to], query_params=looking.address(look))


def _end() -> None:
    st.session_state[_ENDED] = True
