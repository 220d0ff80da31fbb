<?php

declare(strict_types=1);

namespace App\EventListener;

use App\Event\FooActionEvent;
use Symfony\Component\EventDispatcher\Attribute\AsEventListener;

#[AsEventListener('foo.action')]
final class DoNothing
{
    public function __invoke(FooActionEvent $event): void
    {
        usleep(5);
    }
}
