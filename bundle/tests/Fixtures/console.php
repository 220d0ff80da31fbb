<?php

declare(strict_types=1);

require dirname(__DIR__).'/autoload.php';

(new Symfony\Bundle\FrameworkBundle\Console\Application(new Fervo\DeferredEventBundle\Tests\Fixtures\AppKernel('prod', false)))->run();
