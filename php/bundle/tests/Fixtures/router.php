<?php

declare(strict_types=1);

/* PHP's built-in server in the place of PHP-FPM: params come in a header, the front controller is the real one. */
if (false === $script = getenv('FERVO_TEST_SCRIPT')) {
    // Not one of the tests: a visitor of a web server.
    http_response_code(403);
    exit;
}
foreach (json_decode($_SERVER['HTTP_X_PARAMS'] ?? '{}', true) as $name => $value) {
    if (null === $value) {
        unset($_SERVER[$name]);
    } else {
        $_SERVER[$name] = $value;
    }
}
if (isset($_SERVER['FERVO_TEST_PREPEND'])) {
    require_once $_SERVER['FERVO_TEST_PREPEND'];
}
require $script;
