// A module that exports nothing but data.

export const name = "plain";
export const size = 1;
