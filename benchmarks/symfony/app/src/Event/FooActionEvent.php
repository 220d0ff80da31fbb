<?php

declare(strict_types=1);

namespace App\Event;

final class FooActionEvent
{
}
