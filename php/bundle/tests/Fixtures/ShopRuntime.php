<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Symfony\Component\Runtime\SymfonyRuntime;

/** An application's own, as composer.json's extra.runtime.class names it. */
final class ShopRuntime extends SymfonyRuntime
{
    /** @param array<string, mixed> $options */
    public function __construct(array $options = [])
    {
        $_SERVER['OF_RUNTIME'] = 'shop';
        parent::__construct($options);
    }
}
