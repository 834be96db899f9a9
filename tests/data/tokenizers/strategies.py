"""Texts with everything that a normaliser, a space mark, a separator or a byte piece could swallow."""

from hypothesis import strategies as st

from tests.data.tokenizers.kinds import INJECTIONS, PIECES

AWKWARD = (
    st.text(
        st.one_of(
            st.sampled_from(" \t\n\r\0\u2581\u2585\u2047\u00a0\u2028\ufeff\ufffdéﬁ日\U0001f600\u0301"),
            st.characters(exclude_categories=["Cs"]),
        )
    )
    | st.lists(
        st.sampled_from(["<unk>", "<0x41>", "    ", "\n\n", "def ", "self", *INJECTIONS, *PIECES])
    ).map("".join)
    | st.text("ab ABc\n.1é ", max_size=200)
)
