"""A live view of one instrument in a terminal."""
