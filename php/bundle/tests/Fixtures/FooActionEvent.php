<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Symfony\Contracts\EventDispatcher\Event;

/** As the events of Symfony 2 were: it knows its name. */
final class FooActionEvent extends Event
{
    private string $name = '';

    public function __construct(public string $text = 'hello')
    {
    }

    public function setName(string $name): void
    {
        $this->name = $name;
    }

    public function getName(): string
    {
        return $this->name;
    }
}
