<?php
// Half of the jobs wait for 5 ms, as for a database or an API; the others compute for about 2 ms.
if (crc32($_SERVER['FERVO_JOB_ID']) % 2 === 0) {
    usleep(5000);
} else {
    $hash = '';
    for ($end = getrusage()['ru_utime.tv_sec'] * 1e6 + getrusage()['ru_utime.tv_usec'] + 2000, $now = 0; $now < $end;) {
        for ($i = 0; $i < 200; $i++) {
            $hash = md5($hash . $i);
        }
        $usage = getrusage();
        $now = $usage['ru_utime.tv_sec'] * 1e6 + $usage['ru_utime.tv_usec'];
    }
}
header('X-Fervo-Outcome: ack');
