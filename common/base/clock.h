/* Time that only goes forward. */
#pragma once

double clock_seconds(void); /* since some moment before the program began */
