<?php

declare(strict_types=1);

/**
 * Puts jobs as PHP programs do, with nothing but a socket: beanstalkd_producer.php ADDRESS TUBE PRI DELAY TTR BODY...
 * Prints the id of each.
 */
[, $address, $tube, $pri, $delay, $ttr] = $argv;
$socket = stream_socket_client("tcp://$address", $code, $message, 5);
$ask = function (string $command) use ($socket): string {
    fwrite($socket, "$command\r\n");
    return rtrim(fgets($socket), "\r\n");
};
$ask("use $tube");
foreach (array_slice($argv, 6) as $body) {
    $reply = $ask("put $pri $delay $ttr " . strlen($body) . "\r\n$body");
    if (!preg_match('/^INSERTED (\d+)$/', $reply, $match)) {
        fwrite(STDERR, "$reply\n");
        exit(1);
    }
    echo "$match[1]\n";
}
