"""Where the JSON values of a text begin and end: those of a sequence, and the items of arrays in it.

    {"a": 1}  {"b": 2}           two values
    [{"a": 1}, {"b": 2}]         the same two: an array at the top stands for its items

    between values --> in a container (depth > 0)  --> between values
                   --> in a string                 -->
                   --> in a number or a word       -->

What is within a value is not checked, save for strings and brackets. Values may be separated by blanks, commas and the
record separators of RFC 7464; such a separator also ends a value that is not complete. The text comes in blocks, and the
state goes from one to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.kernels.jit import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODE, DEPTH, IN_STRING, ESCAPED, IN_ARRAY, STRAY = range(6)
STATE_SIZE = 6
BETWEEN, CONTAINER, STRING, WORD = range(4)

_TAB, _LF, _CR, _RS, _BLANK = 9, 10, 13, 0x1E, 32
_QUOTE, _COMMA, _BACKSLASH = 34, 44, 92
_LIST, _END_LIST, _OBJECT, _END_OBJECT = 91, 93, 123, 125


@entry
def find_values(
    data: NDArray[np.uint8],
    at: int,
    state: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Find the values that end in a block.

    Args:
        data: uint8[n], the block.
        at: where to go on in it.
        state: int64[STATE_SIZE], zeros at the start of the text; STRAY becomes 1 where a bracket closes nothing.
        starts: int64[k], takes where each value begins; -1 where that was in an earlier block.
        ends: int64[k], takes where each ends.

    Returns:
        How many values there are; where it stopped, short of n when k are found or a bracket is stray; where the
        value begins that is not complete, -1 where that was in an earlier block.
    """
    n, most = len(data), len(starts)
    mode, depth = state[MODE], state[DEPTH]
    in_string, escaped, in_array = state[IN_STRING], state[ESCAPED], state[IN_ARRAY]
    found = 0
    begun = -1
    i = at
    while i < n and found < most:
        c = data[i]
        if c == _RS:
            if mode != BETWEEN:
                starts[found], ends[found] = begun, i
                found += 1
            mode, depth, in_string, escaped, in_array = BETWEEN, 0, 0, 0, 0
        elif in_string:
            if escaped:
                escaped = 0
            elif c == _BACKSLASH:
                escaped = 1
            elif c == _QUOTE:
                in_string = 0
                if mode == STRING:
                    starts[found], ends[found] = begun, i + 1
                    found += 1
                    mode = BETWEEN
        elif mode == CONTAINER:
            if c == _QUOTE:
                in_string = 1
            elif c == _OBJECT or c == _LIST:
                depth += 1
            elif c == _END_OBJECT or c == _END_LIST:
                depth -= 1
                if depth == 0:
                    starts[found], ends[found] = begun, i + 1
                    found += 1
                    mode = BETWEEN
        else:
            blank = c == _BLANK or c == _LF or c == _COMMA or c == _CR or c == _TAB
            ends_word = blank or c == _END_LIST or c == _END_OBJECT or c == _OBJECT or c == _LIST
            if mode == WORD and ends_word:
                starts[found], ends[found] = begun, i
                found += 1
                mode = BETWEEN
                continue  # with the same byte, which may begin or end something
            if mode == BETWEEN and not blank:
                if c == _END_LIST and in_array:
                    in_array = 0
                elif c == _END_LIST or c == _END_OBJECT:
                    state[STRAY] = 1
                    break
                elif c == _LIST and not in_array:
                    in_array = 1
                else:
                    begun = i
                    if c == _OBJECT or c == _LIST:
                        mode, depth = CONTAINER, 1
                    elif c == _QUOTE:
                        mode, in_string = STRING, 1
                    else:
                        mode = WORD
        i += 1
    state[MODE], state[DEPTH] = mode, depth
    state[IN_STRING], state[ESCAPED], state[IN_ARRAY] = in_string, escaped, in_array
    return found, i, begun
