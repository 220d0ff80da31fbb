<?php

declare(strict_types=1);

if ('cli' !== \PHP_SAPI) {
    // A web server may take a visitor's query string for arguments.
    http_response_code(403);
    exit;
}

require dirname(__DIR__).'/autoload.php';

(new Symfony\Bundle\FrameworkBundle\Console\Application(new Fervo\DeferredEventBundle\Tests\Fixtures\AppKernel('prod', false)))->run();
