<?php
// The null job of the benchmarks: the article's usleep(5), and the positive word.
usleep(5);
header('X-Fervo-Outcome: ack');
