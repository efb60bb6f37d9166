from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from bakery import RELEASE

from .models import Order


@require_GET
def index(request):
    return render(request, "shop/index.html", {"release": RELEASE, "orders": Order.objects.count()})


@require_GET
def healthz(request):
    Order.objects.exists()
    return HttpResponse("ok\n", content_type="text/plain")


@csrf_exempt
@require_POST
def order(request):
    Order.objects.create(item=request.POST.get("item", "bread"))
    return HttpResponse(f"{RELEASE}\n", content_type="text/plain")
